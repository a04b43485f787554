"""Write logs: one line a record, JSON or for people, masked by a last net."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from tenants.masking import mask


def configure(options: Mapping[str, str]) -> None:
    """Set up structlog and the standard library's logging alike."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _masked,
    ]
    last = (
        structlog.processors.JSONRenderer()
        if options["format"] == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(options["level"])
    # A library's own DEBUG lines hold headers and statements, our secrets among them.
    for chatty in (
        "asyncio",
        "aiohttp",
        "urllib3",
        "httpx2",
        "httpcore2",
        "openai",
        "anthropic",
        "django.db.backends",
        "uvicorn",
        "websockets",
    ):
        logging.getLogger(chatty).setLevel(max(logging.INFO, root.level))


def _masked(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: mask(value) if isinstance(value, str) else value for key, value in event.items()}
