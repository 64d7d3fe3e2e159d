"""DemoError: what ends a story, or the demo, with a line for people."""


class DemoError(Exception):
    """Something did not happen, or cannot happen here; the text says what, without secrets."""
