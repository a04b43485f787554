"""A request whose body is still on its way is stopped like one that runs, on every worker."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.harness.books import Books
from tests.harness.config import API_KEY, budget, configuration, key, models, nano_prices, tenant
from tests.harness.gateway import GatewayProcess
from tests.harness.together import in_time
from tests.upstream.client import Upstream

pytestmark = pytest.mark.timed

WITHIN_S = 2.0
OTHER_KEY, GLOBEX_KEY = API_KEY + "-other", API_KEY + "-globex"
BODY = json.dumps(
    {"model": "alpha", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
).encode()
PATHS = ("/v1/chat/completions", "/v1/messages", "/api/v1/llm/complete")


class Upload:
    """One request of which only the head, and maybe half of the body, is sent."""

    def __init__(self, gateway: GatewayProcess, path: str, *, begun: bool, **head: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        head = {
            "host": "127.0.0.1",
            "authorization": f"Bearer {API_KEY}",
            "content-length": str(len(BODY)),
            **{name.replace("_", "-"): value for name, value in head.items()},
        }
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        self._sent = len(BODY) // 2 if begun else 0
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + BODY[: self._sent])

    def finish(self) -> int:
        """Send the rest and return the status."""
        self._socket.sendall(BODY[self._sent :])
        return self.status()

    def status(self) -> int:
        return int(self._socket.recv(4096).split()[1])

    def ended(self) -> bool:
        """Say whether the server closes the connection behind its answer."""
        while self._socket.recv(4096):
            pass
        return True

    def close(self) -> None:
        self._socket.close()


@contextmanager
def uploads(gateway: GatewayProcess, **head: str) -> Iterator[list[Upload]]:
    """Begin several on each path: they come to every worker."""
    with ExitStack() as stack:
        begun = [
            Upload(gateway, path, begun=bool(n % 2), **head) for path in PATHS for n in range(6)
        ]
        for each in begun:
            stack.callback(each.close)
        time.sleep(0.5)  # until each worker has read the heads
        yield begun


def serve(gateway: GatewayProcess, upstream: Upstream) -> Books:
    acme = tenant(budgets=[budget("9")], keys=[key(), key("other", OTHER_KEY)])
    globex = tenant("globex", budgets=[budget("9")], keys=[key("main", GLOBEX_KEY)])
    upstream.prices(**nano_prices(models()))
    gateway.apply(configuration(upstream.base_url, tenants=[acme, globex]))
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)
    return Books(gateway)


def test_what_is_stopped_while_its_body_comes_is_refused_and_never_begun(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream)
    other = Upload(gateway, PATHS[0], begun=True, authorization=f"Bearer {GLOBEX_KEY}")
    for kind, name, status, head in (
        ("run", "acme/r1", 403, {"x_mobius_run": "r1"}),
        ("key", "acme/dev", 401, {}),
        ("tenant", "acme", 401, {"authorization": f"Bearer {OTHER_KEY}"}),
    ):
        with uploads(gateway, **head) as begun:
            gateway.managed("stop", kind, name)
            stopped = time.monotonic()
            assert {each.status() for each in begun} == {status}
            in_time(time.monotonic() - stopped, WITHIN_S)
            assert all(each.ended() for each in begun)
    assert upstream.calls == []
    assert other.finish() == 200
    other.close()
    assert len(books.until_settled(1, 5)) == 1


@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_a_body_that_arrives_while_others_are_stopped_is_answered(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream)
    with uploads(gateway) as begun:
        gateway.managed("stop", "key", "acme/other")
        gateway.managed("stop", "model", "beta")
        assert {each.finish() for each in begun} == {200}
    with uploads(gateway) as begun:
        gateway.managed("stop", "model", "alpha")
        time.sleep(1)
        assert {each.finish() for each in begun} == {404}
    assert len(upstream.calls) == len(begun)
