"""Write one line a request to the process' log: ids, sizes, status and cost, no contents (R39)."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from django.conf import settings

from llm_gateway.types import CallRecord
from tenants.masking import mask
from tenants.types import usd

NAME = "llm_gateway.requests"
log = logging.getLogger(NAME)


def log_line(call: CallRecord) -> None:
    _writer(settings.LOGGING["format"])(call)


@cache
def _writer(style: str) -> Callable[[CallRecord], None]:
    return json_writer() if style == "json" else _write_text


def json_writer() -> Callable[[CallRecord], None]:
    """Return a sink that writes JSON through a handler of its own.

    The chain that every other line passes costs more than a third of what a whole request may.
    One field here may hold a secret, and is masked apart.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]
    log.propagate = False

    def write(call: CallRecord) -> None:
        if log.isEnabledFor(logging.INFO):
            line = {"event": "request", "level": "info", **_fields(call)}
            log.info(msgspec.json.encode(line).decode())

    return write


def _write_text(call: CallRecord) -> None:
    if log.isEnabledFor(logging.INFO):
        told = (f"{name}={value}" for name, value in _fields(call).items() if value)
        log.info("request %s", " ".join(told))


def _fields(call: CallRecord) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC),
        "logger": NAME,
        "request_id": str(call.id),
        "tenant": call.tenant_name,
        "project": call.project_name,
        "api_key": call.key_name,
        "endpoint": call.endpoint,
        "dialect": call.dialect,
        "requested_model": mask(call.requested_model[:128]),
        "model": call.model,
        "provider": call.provider,
        "stream": call.stream,
        "status": call.status,
        "outcome": call.outcome,
        "code": call.code,
        "category": call.category,
        "attempts": len(call.attempts),
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cost_usd": usd(call.cost_nano),
        "cache": call.cache,
        "duration_ms": round(call.duration_ms, 1),
        "first_token_ms": None if call.first_token_ms is None else round(call.first_token_ms, 1),
        "request_bytes": call.request_bytes,
        "answer_bytes": call.answer_bytes,
    }
