"""Drive the scripted upstream from a test: start it, script it, ask what it saw and would charge.

    upstream.script("alpha", throttled(retry_after_s=1), stream("Hel", "lo"))

Calls block for the length of one local round trip; `wait_seen` belongs in `asyncio.to_thread`.
"""

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.upstream.scripts import Script

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCall:
    """One inference request as it arrived, and what became of it; times are monotonic seconds.

    `outcome` is running, complete, ended, cut or client_left; `closed_by` who closed first.
    """

    n: int
    connection: int
    method: str
    path: str
    raw_head: str
    raw_body: str
    dialect: str
    model: str
    script: str
    attempt: int
    status: int
    received_at: float
    first_byte_at: float | None
    ended_at: float | None
    outcome: str
    closed_by: str | None
    sent_bytes: int  # of a raw body, as far as somebody takes them

    @property
    def body(self) -> Any:
        return json.loads(self.raw_body)

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw_head.split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name.lower(): value.strip() for name, _colon, value in pairs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    calls: list[SeenCall]
    asked: list[str]
    forms: list[Any]  # of files: name, filename and content of each part
    peak: int
    peaks: dict[str, int]
    running: int
    connections: int
    open_connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """What the provider would charge for one call. `planned` are the tokens of a full answer."""

    n: int
    model: str
    dialect: str
    script: str
    attempt: int
    status: int
    outcome: str
    policy: str
    planned: int
    generated: int
    sent: int
    reported: dict[str, Any] | None
    input: int
    output: int
    cache_read: int
    cache_write: int
    cost_nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    rows: list[BillRow]
    total_nano_usd: int


class Upstream:
    """A running scripted upstream. It ends with the process that started it."""

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self.process = process
        self.base_url = base_url
        self.port = int(base_url.rpartition(":")[2])

    @classmethod
    def start(cls, output: Path) -> "Upstream":
        """Start a process on a free port; what it complains about goes to a file in `output`."""
        with (output / "upstream.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.upstream.server", "--with-stdin"],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            process.wait()
            raise RuntimeError(f"the scripted upstream did not start, see {log.name}")
        return cls(process, address)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    # --- told before the calls

    def script(self, name: str, *scripts: Script | str) -> None:
        """Answer calls for this model (or marker `[[script:name]]`) so: attempts 1, 2, …, last.

        A text stands for what was told under that name before.
        """
        sequence = [one if isinstance(one, str) else one.described() for one in scripts]
        self._ask("POST", "/__script", {"id": name, "sequence": sequence})

    def scripts(self, scripts: Mapping[str, Script]) -> None:
        """Tell many at once: for each name what every call gets."""
        told = {name: script.described() for name, script in scripts.items()}
        self._ask("POST", "/__scripts", {"scripts": told}, timeout_s=30)

    def prices(self, **models: dict[str, int]) -> None:
        """Set nano-dollars a token: `prices(alpha={"input": 2500, "output": 10000})`."""
        self._ask("POST", "/__prices", models)

    def reset(self) -> None:
        self._ask("POST", "/__reset", {})

    # --- while they run

    def open_gate(self, gate: str) -> None:
        self._ask("POST", f"/__gate/{gate}", {})

    def wait_seen(self, count: int, timeout_s: float = 10) -> None:
        """Return once that many calls have arrived."""
        self._wait("seen", count, timeout_s)

    def wait_ended(self, count: int, timeout_s: float = 10) -> None:
        """Return once that many calls have ended, whoever ended them."""
        self._wait("ended", count, timeout_s)

    # --- asked after them

    def seen(self) -> Seen:
        found = self._ask("GET", "/__seen")
        return Seen(**{**found, "calls": [SeenCall(**call) for call in found["calls"]]})

    @property
    def calls(self) -> list[SeenCall]:
        return self.seen().calls

    @property
    def order(self) -> list[str]:
        """The models in the order they were called."""
        return [call.model for call in self.calls]

    def bill(self) -> Bill:
        found = self._ask("GET", "/__bill")
        rows = [BillRow(**row) for row in found["rows"]]
        return Bill(rows=rows, total_nano_usd=found["total_nano_usd"])

    # --- the wire

    def _wait(self, what: str, count: int, timeout_s: float) -> None:
        path = f"/__wait?{what}={count}&timeout={timeout_s}"
        found = self._ask("GET", path, timeout_s=timeout_s + 5)
        if not found["reached"]:
            raise TimeoutError(f"waited {timeout_s} s for {what}={count}: {found}")

    def _ask(self, method: str, path: str, body: Any = None, *, timeout_s: float = 10) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            value = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"{method} {path}: {value}")
        return value
