"""`scripts/demo --rabbitmq`: the demo in a new virtual host of the server that is named, else on a private node."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bridge.demo.broker import TARGETS
from bridge.demo.show import demo
from tests.support.servers import AMQP_VARIABLE, RabbitmqNode, ServerError, drop_vhost, fresh_vhost


@contextmanager
def broker() -> Iterator[str]:
    """Yield the URL of a virtual host for this demo alone; end or remove it."""
    named = os.environ.get(AMQP_VARIABLE)
    if not named:
        print("demo: starting a private RabbitMQ node", file=sys.stderr)
        with RabbitmqNode() as node:
            yield node.url
        return
    url = fresh_vhost(named, targets=TARGETS)
    try:
        yield url
    finally:
        drop_vhost(url)


if __name__ == "__main__":
    code = 130
    with suppress(KeyboardInterrupt):
        try:
            with broker() as url:
                code = demo(keep="--keep" in sys.argv[1:], broker_url=url)
        except (OSError, ServerError) as exc:
            print(f"demo: no RabbitMQ: {exc}", file=sys.stderr)
            code = 1
    sys.exit(code)
