"""Three streams, ended at every byte in either way: never taken for whole, each on the books (F8).

At every byte of every stream there is, in the process alone: `tests/unit/test_streams_cut.py`.
"""

import asyncio
import json
import re
import sqlite3
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from tests.harness.books import Books
from tests.harness.config import API_KEY, Row, configuration, model, provider, tenant
from tests.harness.crowd import Crowd, each
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Told
from tests.harness.gateway import GatewayProcess, installed
from tests.legs import Figure
from tests.unit.adapters import golden, recordings
from tests.upstream.client import Upstream
from tests.upstream.scripts import How, Script

pytestmark = pytest.mark.promise("F8")

LEAST, AT_ONCE, LIMIT_S = 2000, 32, 40.0
BASES = {"openai": "/v1", "anthropic": "", "gemini": ""}
# What a stream has to say before it may be taken for whole; Google's needs a clean end besides.
LAST_WORD = {
    "openai": rb"\[DONE\]\n",
    "anthropic": rb'"type": ?"message_stop"[^\n]*\n',
    "gemini": rb'"finishReason": ?"[^\n]*\n',
}
ADAPTERS = {"openai": "openai_chat", "anthropic": "anthropic_messages", "gemini": "gemini"}
GOLDEN = {"openai": "refusal_stream", "anthropic": "text_stream", "gemini": "text_stream"}
HOWS: tuple[How, ...] = tuple(how for how in get_args(How) if how != "short_length")


@dataclass(frozen=True, slots=True)
class Stream:
    """What a provider of this kind sent."""

    kind: str
    body: bytes

    @property
    def said(self) -> int:
        """Return behind which byte it may be taken for whole."""
        match = re.search(LAST_WORD[self.kind], self.body)
        assert match is not None
        return match.end() - 1


@dataclass(frozen=True, slots=True)
class Cut:
    stream: Stream
    how: How
    offset: int

    @property
    def name(self) -> str:
        return f"{self.stream.kind}-{self.how}-{self.offset}"

    def script(self) -> Script:
        sent = b64encode(self.stream.body[: self.offset]).decode()
        kind = {"header": ["Content-Type", "text/event-stream"]}
        return Script(steps=({"status": 200}, kind, {"raw": sent}, {"cut": self.how}))


def streams() -> list[Stream]:
    """Return the shortest recorded stream of each dialect that ends by itself; else golden ones."""
    if not recordings.FOLDER.is_dir():
        cases = [golden.ROOT / ADAPTERS[kind] / name for kind, name in GOLDEN.items()]
        bodies = [(case / "upstream.sse").read_bytes() for case in cases]
        return [Stream(kind, body) for kind, body in zip(GOLDEN, bodies, strict=True)]
    recorded = [one for one in recordings.recordings() if one.is_stream and one.is_chat]
    found = []
    for kind, adapter in ADAPTERS.items():
        mine = [one.raw() for one in recorded if one.adapter == adapter and one.status == 200]
        whole = [body for body in mine if re.search(LAST_WORD[kind], body)]
        found.append(Stream(kind, min(whole, key=len)))
    return found


def cuts() -> Iterator[Cut]:
    for stream, how in product(streams(), HOWS):
        yield from (Cut(stream, how, offset) for offset in range(len(stream.body) + 1))


# --- asking -----------------------------------------------------------------------------------


def asking(cut: Cut) -> tuple[str, bytes, dict[str, str]]:
    """Return path, body and headers of a request that gets this cut."""
    kind, content = cut.stream.kind, f"[[script:{cut.name}]]"
    headers = {"Authorization": f"Bearer {API_KEY}"}
    if kind == "gemini":
        body: Row = {"contents": [{"role": "user", "parts": [{"text": content}]}]}
        path = "/v1beta/models/gemini:streamGenerateContent?alt=sse"
        return path, json.dumps(body).encode(), headers
    dialect = OPENAI if kind == "openai" else ANTHROPIC
    body = dialect.body(kind, stream=True, content=content)
    return dialect.path, json.dumps(body).encode(), headers | dict(dialect.headers)


@dataclass(slots=True)
class Scene:
    gateway: GatewayProcess
    upstream: Upstream

    def told(self, cuts: Sequence[Cut]) -> dict[Cut, Told]:
        self.upstream.scripts({cut.name: cut.script() for cut in cuts})
        answers = asyncio.run(each(cuts, self._ask, at_once=AT_ONCE))
        return dict(zip(cuts, answers, strict=True))

    async def _ask(self, cut: Cut) -> Told:
        crowd = Crowd(self.gateway.port)
        try:
            path, body, headers = asking(cut)
            return await crowd.send(path, body, headers, leave_after_s=LIMIT_S)
        finally:
            crowd.close()

    def outcomes(self, attempts: int) -> Counter[str]:
        """Return how the attempts stand in the ledger, once those nobody knows have expired."""
        path = self.gateway.environment["DATABASE_URL"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=20)) as file, file:
            file.execute(
                "UPDATE ledger_hold SET deadline_at = created_at WHERE state = 'uncertain'"
            )
        entries = Books(self.gateway).until_settled(attempts, LIMIT_S)
        of_request = Counter(entry["request_id"] for entry in entries)
        assert set(of_request.values()) == {1}
        return Counter(entry["outcome"] for entry in entries)


@contextmanager
def served(
    databases: SqliteDatabases, home: Path, output: Path, mutant: str = ""
) -> Iterator[Scene]:
    """Serve without circuits: what fails all the time would soon not be called any more."""
    upstream = Upstream.start(output)
    try:
        with installed(databases, home, output) as gateway:
            once = {"max_attempts": 1}
            made = [
                provider(kind, kind, upstream.base_url + base, retry=once)
                for kind, base in BASES.items()
            ]
            wanted = configuration(
                upstream.base_url,
                providers=made,
                models=[model(kind, kind) for kind in BASES],
                routes=[],
                tenants=[tenant()],
            )
            gateway.apply(wanted)
            yield Scene(gateway.serve(mutant=f"unhurried+unbroken+sweeping{mutant}"), upstream)
    finally:
        upstream.stop()


# --- what is wrong ----------------------------------------------------------------------------


def wrong(cut: Cut, told: Told) -> str:
    """Return what is wrong with an answer to a stream that was cut there; nothing if it is well."""
    if told.status in {0, 500}:
        return f"crashed: {told.status}"
    if false_end(cut, told):
        return "a clean end"
    if told.clean and told.status == 200:
        return ""
    said = told.json if told.status != 200 else told.events[-1]
    if told.status not in {200, 502} or not said["error"]["message"]:
        return f"no error: {told.status} {told.text[-200:]}"
    return ""


def false_end(cut: Cut, told: Told) -> bool:
    """Say whether it looks whole and is not."""
    looks = told.clean or re.search(LAST_WORD[cut.stream.kind], told.body) is not None
    whole = cut.offset >= cut.stream.said and cut.stream.kind != "gemini"
    return told.status == 200 and looks and not whole


def test_a_stream_cut_at_any_byte_is_never_taken_for_whole(
    sqlite_databases: SqliteDatabases, tmp_path: Path, output: Path, figure: Figure
) -> None:
    asked = list(cuts())
    with served(sqlite_databases, tmp_path, output) as scene:
        told = scene.told(asked)
        outcomes = scene.outcomes(len(asked))
    faults = {cut.name: said for cut, answer in told.items() if (said := wrong(cut, answer))}
    figure("cases", len(asked), f"≥ {LEAST}")
    figure("crashes", sum(answer.status in {0, 500} for answer in told.values()), "0")
    figure("false clean ends", sum(false_end(*each) for each in told.items()), "0")
    figure("without an entry", len(asked) - outcomes.total(), "0")
    assert len(asked) >= LEAST
    assert faults == {}
    assert outcomes.total() == len(asked)


def test_a_gateway_that_believes_every_end_goes_red(
    sqlite_databases: SqliteDatabases, tmp_path: Path, output: Path
) -> None:
    """Control: the end of the connection is taken for the end of the answer."""
    asked = [cut for cut in cuts() if cut.how == "fin" and cut.offset == cut.stream.said - 40]
    with served(sqlite_databases, tmp_path, output, "+credulous") as scene:
        told = scene.told(asked)
    # Google's stream may be so short that its first word comes with its last.
    found = {cut.stream.kind for cut, answer in told.items() if false_end(cut, answer)}
    assert found >= {"openai", "anthropic"}
