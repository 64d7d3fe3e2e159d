"""Reading the prometheus endpoint."""

from bridge.brokers.rabbitmq.stats import parse

TEXT = """\
# TYPE rabbitmq_detailed_queue_messages_ready gauge
# HELP rabbitmq_detailed_queue_messages_ready Messages ready to be delivered to consumers
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="bridge.events.v1"} 7
rabbitmq_detailed_queue_messages_unacked{vhost="/",queue="bridge.events.v1"} 3
rabbitmq_detailed_queue_messages{vhost="/",queue="bridge.events.v1"} 10
rabbitmq_detailed_queue_messages_unacked{vhost="/",queue="another \\"one\\""} 1
rabbitmq_detailed_queue_process_reductions_total{vhost="/",queue="bridge.events.v1"} 22038
"""


def test_ready_and_unacked_are_read() -> None:
    """Only the two figures that are asked for are taken, each for its queue."""
    figures = parse(TEXT)
    assert figures["ready", "bridge.events.v1"] == 7
    assert figures["unacked", "bridge.events.v1"] == 3
    assert len(figures) == 3


def test_another_text_has_no_figures() -> None:
    """Whatever answers there instead, nothing is made up."""
    assert parse("<html>rabbitmq_detailed_queue_messages_ready</html>") == {}
