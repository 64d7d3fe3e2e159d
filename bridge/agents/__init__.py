"""Whose jobs we take: one package a CI platform that hands out work. It opens waits for jobs, and is the worker of its target."""
