"""The broker of one machine: queues in tables of one SQLite file, with RabbitMQ's promises."""

from bridge.brokers.sqlite.broker import SqliteBroker

__all__ = ["SqliteBroker"]
