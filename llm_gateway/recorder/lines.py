"""Write one line a request to the process' log: ids, sizes, status and cost, no contents (R39)."""

import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import structlog
from django.conf import settings

from llm_gateway.recorder.rows import encode
from llm_gateway.types import CallRecord
from tenants.masking import mask
from tenants.types import usd

NAME = "llm_gateway.requests"
log = logging.getLogger(NAME)


def log_line(call: CallRecord) -> None:
    if log.isEnabledFor(logging.INFO):
        write = write_json if settings.LOGGING["format"] == "json" else write_text
        write(call)


def log_alarms(call: CallRecord) -> None:
    """Warn once of a request in which something was charged that is not as it should be."""
    raised = [(each.number, each.model, kind) for each in call.attempts for kind in each.alarms]
    if raised:
        alarms = [{"kind": kind, "attempt": n, "model": model} for n, model, kind in raised]
        structlog.get_logger(NAME).warning(
            "ledger.alarm",
            request_id=str(call.id),
            tenant=call.tenant_name,
            api_key=call.key_name,
            alarms=alarms,
        )


def write_json(call: CallRecord) -> None:
    """Write the line past the logging chain, which would cost a third of a request's whole budget.

    One field here may hold a secret, and is masked apart.
    """
    line = encode({"event": "request", "level": "info", **_fields(call)})
    sys.stderr.write(f"{line.decode()}\n")


def write_text(call: CallRecord) -> None:
    told = (f"{name}={value}" for name, value in _fields(call).items() if value)
    log.info("request %s", " ".join(told))


@lru_cache(maxsize=1024)
def _masked(name: str) -> str:
    """Return a name that a caller sent; they send the same few."""
    return mask(name)


def _fields(call: CallRecord) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC),
        "logger": NAME,
        "request_id": call.id,
        "tenant": call.tenant_name,
        "project": call.project_name,
        "api_key": call.key_name,
        "endpoint": call.endpoint,
        "dialect": call.dialect,
        "requested_model": _masked(call.requested_model[:128]),
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
