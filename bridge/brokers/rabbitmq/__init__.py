"""RabbitMQ, the engine: topology, publisher, consumers and supervision over AMQP 0-9-1.

broker.py     what the port promises, by delegation
supervisor.py one connection, made again whenever it is lost
topology.py   what is on the broker, as data; declaring.py makes it and keeps it there
publisher.py  confirmed publishes; batching.py is the one module that knows the driver's inside
consuming.py  subscriptions; delivery.py settles; messages.py says what a message looks like on the wire
control.py    announcements; stats.py figures; errors.py the driver's errors in our words
"""

from bridge.brokers.rabbitmq.broker import RabbitmqBroker

__all__ = ["RabbitmqBroker"]
