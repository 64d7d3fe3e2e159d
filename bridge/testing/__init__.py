"""Emulators of the platforms and fixtures: for our tests, the demo, and whoever writes a consumer."""
