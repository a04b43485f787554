"""Give the contract tests one gateway, before providers who play what they are asked to.

The recordings are no part of a clone: without them the gateway serves the rest, and the tests over
them name the leg as absent.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.clients import Clients
from tests.contract.configured import sections
from tests.contract.recordings import Recording, send
from tests.contract.town import Town, opened
from tests.harness import replay
from tests.harness.config import configuration
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.replay import ReplayUpstream
from tests.upstream.client import Upstream
from tests.upstream.scripts import raw, split


class Stage:
    """The gateway, and the providers behind it."""

    def __init__(
        self, gateway: GatewayProcess, upstream: Upstream, recorded: ReplayUpstream | None
    ) -> None:
        self.gateway, self.upstream, self._recorded = gateway, upstream, recorded
        self._read, self._bodies = 0, dict[str, Any]()  # of the log of the recordings

    @property
    def url(self) -> str:
        return self.gateway.url

    def play(self, row: Recording, *, piece: int | None = None) -> None:
        """Have the provider answer the model of this name with this exchange; in such pieces."""
        if not row.golden:
            if piece is not None:
                assert self._recorded is not None
                again = {"items": [f"rec:{row.id}:fault:split-bytes:{piece}"]}
                assert send(self._recorded.base_url, "/__admin/queue", again).status == 200
            return
        if isinstance(row.response, str):
            script = raw(row.response.encode(), content_type="text/event-stream; charset=utf-8")
        else:
            script = raw(json.dumps(row.response).encode(), content_type="application/json")
        self.upstream.script(row.id, script if piece is None else split(piece) + script)

    def provider(self, row: Recording) -> tuple[str, str]:
        """Return where the exchange can be had without the gateway: address and model."""
        if row.golden:
            return self.upstream.base_url, row.id
        assert self._recorded is not None, "only recordings that are here become tests"
        return self._recorded.base_url, f"rec:{row.id}"

    def received(self, row: Recording) -> Any:
        """Return the body of the last request that the provider had for this exchange."""
        if row.golden:
            return [call.body for call in self.upstream.calls if call.model == row.id][-1]
        assert self._recorded is not None
        with self._recorded.requests_log.open() as log:
            log.seek(self._read)
            entries = [json.loads(line) for line in log.readlines()]
            self._read = log.tell()
        for entry in entries:
            if entry["event"] == "request":
                self._bodies[entry.get("selected")] = entry["body"]
        return self._bodies[row.id]


@pytest.fixture(scope="session")
def served(
    request: pytest.FixtureRequest,
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Stage]:
    recorded: ReplayUpstream | None = None
    if replay.is_here():
        recorded = request.getfixturevalue("replay_upstream")
    # Bound and never listened on: whoever connects is refused, and nobody else gets the port.
    with (
        socket.socket() as refusing,
        installed(sqlite_databases, tmp_path_factory.mktemp("stage"), output) as gateway,
    ):
        refusing.bind(("127.0.0.1", 0))
        wanted = sections(
            upstream_process.base_url,
            recorded.base_url if recorded else None,
            f"http://127.0.0.1:{refusing.getsockname()[1]}",
        )
        gateway.apply(configuration(upstream_process.base_url, **wanted))
        yield Stage(gateway.serve(), upstream_process, recorded)


@pytest.fixture
def stage(served: Stage, upstream: Upstream) -> Stage:
    """Return the stage; its scripted upstream has seen nothing yet."""
    assert served.upstream is upstream
    return served


@pytest.fixture(scope="session")
def town(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory, output: Path
) -> Iterator[Town]:
    home = tmp_path_factory.mktemp("town")
    with installed(sqlite_databases, home, output) as gateway, opened(gateway) as made:
        yield made


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()
