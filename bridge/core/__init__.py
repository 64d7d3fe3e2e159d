"""Pure values and rules: the standard library and pydantic only, no I/O, no platform."""
