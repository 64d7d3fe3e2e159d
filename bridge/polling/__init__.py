"""Asks remote systems for what none of them tells: the role `poller`."""
