"""Make finished calls, and a migrated database under an alias of its own to keep them in."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import environ
from django.db import connections

from llm_gateway.types import AttemptRecord, CallRecord
from tenants.ids import new_id

ALIAS = "recorded"


def attempt(**values: Any) -> AttemptRecord:
    known = {"number": 1, "provider": "alpha", "model": "gpt-4o", "deployment_id": 7}
    return AttemptRecord(**{**known, "outcome": "settled", "duration_ms": 120.0, **values})


def call(**values: Any) -> CallRecord:
    known: dict[str, Any] = {
        "id": new_id(),
        "created_at": datetime.now(UTC),
        "tenant_id": 1,
        "tenant_name": "acme",
        "api_key_id": None,
        "key_name": "dev",
        "endpoint": "/v1/chat/completions",
        "dialect": "openai_chat",
        "requested_model": "smart",
        "model": "gpt-4o",
        "provider": "alpha",
        "stream": False,
        "status": 200,
        "outcome": "ok",
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_nano": 1_100_000,
        "duration_ms": 123.4,
        "attempts": (attempt(),),
    }
    return CallRecord(**{**known, **values})


@contextmanager
def connected(url: str) -> Iterator[str]:
    """Yield an alias under which Django knows the database at `url`."""
    config = environ.Env.db_url_config(url)
    config["OPTIONS"] = (
        {"transaction_mode": "IMMEDIATE", "timeout": 5, "init_command": "PRAGMA journal_mode=WAL"}
        if "sqlite" in config["ENGINE"]
        else {"pool": {"min_size": 0, "max_size": 2}}
    )
    known = connections.databases["default"]
    connections.databases[ALIAS] = {**known, "PORT": "", "HOST": "", "USER": "", **config}
    try:
        yield ALIAS
    finally:
        connections[ALIAS].close()
        getattr(connections[ALIAS], "close_pool", int)()  # only PostgreSQL has one
        del connections[ALIAS]
        del connections.databases[ALIAS]
