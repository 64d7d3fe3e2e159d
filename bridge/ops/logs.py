"""Logs: one fact a line, in the past, with fields; JSON for machines, aligned text on a terminal."""

import logging
import sys

import structlog


def configure(*, is_json: bool | None = None) -> None:
    """Set up structlog for this process. is_json: None decides by whether standard error is a terminal."""
    as_json = not sys.stderr.isatty() if is_json is None else is_json
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    shared = [structlog.processors.format_exc_info] if as_json else []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *shared,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log requests and frames: their warnings are facts, what lies below may hold what must not be shown.
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
