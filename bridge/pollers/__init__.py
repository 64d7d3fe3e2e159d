"""Whom we ask: one file for each kind of remote that cannot call back."""
