"""Give the contract tests a gateway in front of the recordings of real providers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.recordings import recordings
from tests.harness.config import budget, configuration, model, provider, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.replay import ReplayUpstream

APIS = ("openai.chat", "openai.embeddings", "anthropic.messages", "anthropic.count_tokens")


class Replayed:
    """A gateway whose models are recordings, each under the recording's id."""

    def __init__(self, gateway: GatewayProcess, upstream: ReplayUpstream) -> None:
        self.gateway, self._log = gateway, upstream.requests_log

    @property
    def url(self) -> str:
        return self.gateway.url

    def received(self, recording: str) -> list[dict[str, Any]]:
        """Return the requests the upstream has had for a recording, oldest first."""
        rows = (json.loads(line) for line in self._log.read_text().splitlines())
        return [
            row for row in rows if row["event"] == "request" and row.get("selected") == recording
        ]


def _configuration(upstream_url: str) -> dict[str, Any]:
    once = {"retry": {"max_attempts": 1}}
    kinds = {"openai": f"{upstream_url}/v1", "anthropic": upstream_url}
    rows = recordings(*APIS)
    return configuration(
        upstream_url,
        # A provider for each recording: what one answers must not make another rest.
        providers=[
            provider(f"p-{row.id}", kind, kinds[kind], **once)
            for row in rows
            for kind in [row.api.partition(".")[0]]
        ],
        models=[
            model(row.id, f"p-{row.id}", upstream_name=f"rec:{row.id}", capabilities=None)
            for row in rows
        ],
        routes=[],
        tenants=[tenant(budgets=[budget("1000.00", hard=False)])],
    )


@pytest.fixture(scope="session")
def replayed(
    sqlite_databases: SqliteDatabases,
    replay_upstream: ReplayUpstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Replayed]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("replayed"), output) as gateway:
        rows = _configuration(replay_upstream.base_url)
        for row in rows["models"]:
            del row["capabilities"], row["context_window"], row["max_output_tokens"]
        gateway.apply(rows)
        gateway.serve()
        yield Replayed(gateway, replay_upstream)
