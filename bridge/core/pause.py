"""An operator's pause of a target, as coordinators announce it and workers follow it."""

import orjson

_TOPIC_PREFIX = "target."


def pause_topic(target: str) -> str:
    return _TOPIC_PREFIX + target


def write_pause(*, is_paused: bool) -> bytes:
    return orjson.dumps({"paused": is_paused})


def read_pause(topic: str, body: bytes) -> tuple[str, bool] | None:
    """Return (target, is paused) of an announcement, or None when it is about something else."""
    if not topic.startswith(_TOPIC_PREFIX):
        return None
    return topic.removeprefix(_TOPIC_PREFIX), bool(orjson.loads(body).get("paused"))
