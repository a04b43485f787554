"""Every fault of an upstream, streamed and whole, with another target and none, by dialect (F1)."""

import asyncio
import json
import random
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    Row,
    budget,
    configuration,
    model,
    provider,
    route,
    tenant,
)
from tests.harness.crowd import Crowd, each
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told
from tests.harness.faultproxy import FaultProxy
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import in_time
from tests.harness.untrusted import Untrusted
from tests.integration.fault_table import (
    DIALECTS,
    FAULTS,
    KEY,
    LONG_LINE,
    SAID,
    Cell,
    Expected,
    Pool,
    cells,
    expected,
    later_line,
    long_line,
)
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import stalled

pytestmark = [pytest.mark.promise("F1"), pytest.mark.timed]

AT_ONCE = 24
LATE_S, OFF_S, TRIES = 0.25, 0.2, 3
LIMIT_S = 25.0  # whoever has heard nothing by then never will
IMPATIENT_S, CONNECT_S = 0.6, 0.4
SHARED_S = 1.0  # of two targets, the first of which is given up after IMPATIENT_S
# Repeats hardly wait here; how long they wait by themselves is a matter of `resilience.retry`.
RETRY = {"max_attempts": 3, "initial_delay": 0.02, "jitter": 0}
SETTINGS: dict[str, Row] = {
    "once": {"retry": RETRY | {"max_attempts": 1}},
    "impatient": {"timeouts": {"first_token": IMPATIENT_S, "idle": IMPATIENT_S}},
    "blackhole": {"timeouts": {"connect": CONNECT_S}},
}
BASES = {"openai": "/v1", "anthropic": "", "gemini": ""}
SPARE = "spare"
# A first attempt pays 0.15 of a further one into the budget of its process (faults.md §4).
EARNING = 7
STATUS_OF = {
    "upstream_rate_limited": 429,
    "upstream_error": 502,
    "upstream_invalid": 502,
    "no_target_available": 503,
    "upstream_timeout": 504,
    "deadline_exceeded": 504,
}
SPEAKING: dict[str, Dialect] = {"openai": OPENAI, "anthropic": ANTHROPIC}
END = {"openai": OPENAI.end, "anthropic": ANTHROPIC.end, "gemini": '"finishReason"'}


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a cell, from all three sides."""

    told: Told
    seconds: float
    calls: int
    second: int
    outcomes: tuple[str, ...]
    waits: tuple[float, ...]  # how long the first target had each call


# --- the installation -----------------------------------------------------------------------


def matrix_configuration(addresses: dict[Pool, str], cells: Sequence[Cell]) -> Row:
    """Return a configuration where each cell has a deployment that nobody else calls."""
    first = {provider_of(cell): (cell.kind, cell.pool) for cell in cells}
    others: dict[str, tuple[str, Pool]] = {f"second-{kind}": (kind, "plain") for kind in DIALECTS}
    made = [_provider(name, *what, addresses) for name, what in (first | others).items()]
    falling = [cell for cell in cells if cell.fallback]
    return configuration(
        addresses["plain"],
        providers=[*made, {"name": SPARE, "kind": "mock"}],
        models=[
            *(model(cell.name, provider_of(cell)) for cell in cells),
            *(model(cell.second, f"second-{cell.kind}") for cell in falling),
            model(SPARE, SPARE, price=("0", "0")),
        ],
        routes=[route(cell.asked, cell.name, cell.second) for cell in falling],
        tenants=[tenant(budgets=[budget("1000")])],
    )


def provider_of(cell: Cell) -> str:
    """Return who serves a cell: a refused key rests everywhere, so that is nobody else's."""
    own = cell.fault.name in {"401", "403"}
    return cell.name if own else f"{cell.kind}-{cell.pool}"


def _provider(name: str, kind: str, pool: Pool, addresses: dict[Pool, str]) -> Row:
    base = addresses.get(pool, addresses["plain"]) + BASES[kind]
    return provider(name, kind, base, **{"retry": RETRY, **SETTINGS.get(pool, {})})


@dataclass(slots=True)
class Matrix:
    gateway: GatewayProcess
    upstream: Upstream

    def play(self, cells: Sequence[Cell], *, silent: bool = False) -> dict[Cell, Seen]:
        """Ask them all, many at once, and return what came of each.

        `silent`: no second target answers either, and the time that is left is for both.
        """
        self.upstream.reset()
        self.upstream.script(LONG_LINE, long_line())
        self.upstream.script(f"{LONG_LINE} later", later_line())
        for cell in cells:
            self.upstream.script(cell.name, cell.fault.script(cell))
        if silent:
            self.upstream.scripts({cell.second: stalled() for cell in cells})
        deadline_s = SHARED_S if silent else None
        # Slow ones among quick ones, so that what is paid in for retries is not kept for long.
        order = random.Random(1).sample(cells, len(cells))

        told = asyncio.run(each(order, lambda cell: self._ask(cell, deadline_s), at_once=AT_ONCE))
        return self._seen(dict(zip(order, told, strict=True)))

    async def _ask(self, cell: Cell, deadline_s: float | None) -> tuple[Told, float]:
        crowd = Crowd(self.gateway.port)
        try:
            return await self._ask_as(crowd, cell, deadline_s or cell.deadline_s)
        finally:
            crowd.close()

    async def _ask_as(self, crowd: Crowd, cell: Cell, deadline_s: float) -> tuple[Told, float]:
        for _ in range(EARNING * expected(cell).further):
            assert (await crowd.ask(OPENAI, SPARE)).status == 200
        path, body, headers = asking(cell)
        headers["x-mobius-timeout"] = str(deadline_s)
        opening: list[asyncio.Future[None]] = []

        def on_head() -> None:
            opened = asyncio.to_thread(self.upstream.open_gate, cell.name)
            opening.append(asyncio.ensure_future(opened))

        began = time.monotonic()
        told = await crowd.send(path, body, headers, leave_after_s=LIMIT_S, on_head=on_head)
        took = time.monotonic() - began
        await asyncio.gather(*opening)
        return told, took

    def _seen(self, told: dict[Cell, tuple[Told, float]]) -> dict[Cell, Seen]:
        self.upstream.wait_ended(len(self.upstream.calls), LIMIT_S)
        waits: defaultdict[str, list[float]] = defaultdict(list)
        for call in self.upstream.calls:
            assert call.ended_at is not None
            waits[call.model].append(call.ended_at - call.received_at)
        books = Books(self.gateway)
        attempts: defaultdict[str, dict[int, str]] = defaultdict(dict)
        rows = [(row, row["outcome"]) for row in books.terminal()]
        rows += [(row, row["state"]) for row in books.holds()]
        for row, outcome in rows:
            mine = attempts[row["request_id"]]
            number = row["attempt_no"]
            mine[number] = f"twice: {mine[number]}" if number in mine else outcome
        return {
            cell: Seen(
                answer,
                seconds,
                len(waits[cell.name]),
                len(waits[cell.second]),
                tuple(
                    outcome
                    for _, outcome in sorted(attempts[answer.headers["x-request-id"]].items())
                ),
                tuple(waits[cell.name]),
            )
            for cell, (answer, seconds) in told.items()
            if answer.status
        }


def asking(cell: Cell) -> tuple[str, bytes, dict[str, str]]:
    """Return path, body and headers of a cell's request."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    dialect = SPEAKING.get(cell.caller)
    if dialect is not None:
        body = dialect.body(cell.asked, stream=cell.stream)
        return dialect.path, json.dumps(body).encode(), headers | dict(dialect.headers)
    method = "streamGenerateContent?alt=sse" if cell.stream else "generateContent"
    said = {"contents": [{"role": "user", "parts": [{"text": "count, please"}]}]}
    asked: dict[str, Any] = said | {"generationConfig": {"maxOutputTokens": 8}}
    return f"/v1beta/models/{cell.asked}:{method}", json.dumps(asked).encode(), headers


@contextmanager
def served(
    databases: SqliteDatabases,
    home: Path,
    output: Path,
    cells: Sequence[Cell],
    mutant: str = "",
) -> Iterator[Matrix]:
    upstream = Upstream.start(output)
    try:
        with (
            Untrusted(home) as tls,
            socket.socket() as refusing,
            FaultProxy("127.0.0.1", upstream.port) as proxy,
            installed(databases, home, output) as gateway,
        ):
            # Bound and never listened on: whoever connects is refused.
            refusing.bind(("127.0.0.1", 0))
            proxy.blackhole()
            addresses: dict[Pool, str] = {
                "plain": upstream.base_url,
                "refused": f"http://127.0.0.1:{refusing.getsockname()[1]}",
                "nowhere": "http://provider.invalid",
                "untrusted": f"https://127.0.0.1:{tls.port}",
                "blackhole": f"http://127.0.0.1:{proxy.port}",
            }
            gateway.apply(matrix_configuration(addresses, cells))
            yield Matrix(gateway.serve(mutant=f"unhurried{mutant}"), upstream)
    finally:
        upstream.stop()


# --- what is wrong with a cell --------------------------------------------------------------


def wrong(cell: Cell, seen: Seen | None) -> Iterator[str]:
    """Yield each way in which a cell is not as documented."""
    if seen is None:
        yield "hung"
        return
    want, told = expected(cell), seen.told
    if (told.status, seen.calls, seen.second, seen.outcomes) != (
        want.status,
        want.calls,
        want.second,
        want.outcomes,
    ):
        yield (
            f"{told.status} {told.code} {seen.calls}+{seen.second} calls {seen.outcomes},"
            f" not {want.status} {want.code} {want.calls}+{want.second} {want.outcomes}"
        )
        return
    if KEY in told.text + str(told.headers):
        yield "the provider's text shows a key"
    if want.status != 200:
        yield from _wrong_error(cell, want, told)
    elif want.in_stream:
        yield from _wrong_stream_error(cell, want, told)
    else:
        yield from _wrong_answer(cell, want, told)


def _wrong_error(cell: Cell, want: Expected, told: Told) -> Iterator[str]:
    if told.code != want.code:
        yield f"code {told.code}, not {want.code}"
    yield from _wrong_body(cell, told.json, want.code, want.status)
    listed = [set(attempt) for attempt in told.json["error"].get("attempts", [])]
    if listed != [{"provider", "status", "category"}] * len(want.outcomes):
        yield f"lists {listed}"
    if ("the provider speaks" in told.text) != cell.fault.said:
        yield "the provider's text" if not cell.fault.said else "not the provider's text"
    after = told.headers.get("retry-after")
    if want.retry_after is None and after is not None:
        yield f"retry-after {after}"
    if want.retry_after is not None and int(after or 0) not in want.retry_after:
        yield f"retry-after {after}, not {want.retry_after}"
    if (told.headers.get("x-should-retry") == "false") != cell.fault.hopeless:
        yield f"x-should-retry {told.headers.get('x-should-retry')}"
    if not told.clean:
        yield "cut"


def _wrong_stream_error(cell: Cell, want: Expected, told: Told) -> Iterator[str]:
    if told.clean:
        yield "a clean end"
    if END[cell.caller] in told.text:
        yield "looks complete"
    if "one" not in told.text:
        yield "lost what was said before"
    yield from _wrong_body(cell, told.events[-1], want.in_stream, STATUS_OF[want.in_stream])
    if cell.caller == "anthropic" and "event: error\n" not in told.text:
        yield "no event: error"


def _wrong_answer(cell: Cell, want: Expected, told: Told) -> Iterator[str]:
    if not told.clean:
        yield "cut"
    if cell.stream and END[cell.caller] not in told.text:
        yield "no end"
    said = SAID.split() if not want.second else [f"w{n}" for n in range(1, 9)]
    if not all(word in told.text for word in said):
        yield f"said otherwise: {told.text[-300:]}"
    if told.headers.get("x-mobius-model") != (cell.second if want.second else cell.name):
        yield f"answered by {told.headers.get('x-mobius-model')}"
    if told.headers.get("x-mobius-attempts") != str(len(want.outcomes)):
        yield f"attempts {told.headers.get('x-mobius-attempts')}"


def _wrong_body(cell: Cell, body: Any, code: str, status: int) -> Iterator[str]:
    """Yield what is not as the dialect's own errors are (faults.md §1, contract.md §4)."""
    error = body["error"]
    if cell.caller == "gemini":
        reasons = [one.get("reason") for one in error["details"]]
        got = (error["code"], error["status"], code.upper() in reasons)
        if got != (status, _google(status), True):
            yield f"said {got}"
        return
    kind = (_anthropic if cell.caller == "anthropic" else _openai)(status)
    if (error["type"], error["code"]) != (kind, code):
        yield f"said {error['type']} {error['code']}, not {kind} {code}"
    if cell.caller == "anthropic" and body["type"] != "error":
        yield "no error of Anthropic's"


def _google(status: int) -> str:
    special = {429: "RESOURCE_EXHAUSTED", 504: "DEADLINE_EXCEEDED"}
    return special.get(status, "UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT")


def _openai(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _anthropic(status: int) -> str:
    special = {
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
    return special.get(status, "api_error" if status >= 500 else "invalid_request_error")


# --- tests ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def matrix(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory, output: Path
) -> Iterator[Matrix]:
    home = tmp_path_factory.mktemp("home")
    with served(sqlite_databases, home, output, list(cells())) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Played:
    matrix: Matrix
    seen: dict[Cell, Seen]
    seconds: float


@pytest.fixture(scope="module")
def played(matrix: Matrix) -> Played:
    """Play all cells, once: nobody has called any of their deployments before."""
    began = time.monotonic()
    seen = matrix.play(list(cells()))
    return Played(matrix, seen, time.monotonic() - began)


def test_every_fault_has_its_documented_answer(played: Played, figure: Figure) -> None:
    asked, seen = list(cells()), played.seen
    figure("seconds, all cells", round(played.seconds, 1), "≤ 40")
    faults = {cell: list(wrong(cell, seen.get(cell))) for cell in asked}
    told = [f"{cell.name}: {'; '.join(said)}" for cell, said in faults.items() if said]
    figure("faults", len(FAULTS), "≥ 30")
    figure("cells", len(asked), "≥ 360")
    figure("as documented, %", round(100 * (1 - len(told) / len(asked)), 2), "100")
    figure("hangs", sum(cell not in seen for cell in asked), "0")
    figure("false clean ends", sum(_false_end(cell, seen.get(cell)) for cell in asked), "0")
    assert not told, "\n".join(told)


def test_waits_end_at_their_limits(played: Played, figure: Figure) -> None:
    """Those that time alone ends; one that was missed by load is asked again, with fewer others."""
    asked = [cell for cell in cells() if ends_by_time(cell)]
    late: dict[Cell, float] = {}
    off: dict[Cell, float] = {}
    for cell, seen in timed(played, asked).items():
        if cell.fault.late:
            late[cell] = seen.seconds - cell.deadline_s
        else:
            off[cell] = max(abs(wait - IMPATIENT_S) for wait in seen.waits)
    figure("behind its deadline, slowest, ms", round(max(late.values()) * 1000), "≤ 250")
    figure("off its limit of silence, most, ms", round(max(off.values()) * 1000), "≤ 200")
    in_time(max(late.values()), LATE_S)
    in_time(max(off.values()), OFF_S)


def test_what_refused_our_key_or_name_is_not_called_again(played: Played, figure: Figure) -> None:
    asked = [
        cell for cell in cells() if cell.fault.name in {"401", "403", "404"} and not cell.fallback
    ]
    again = played.matrix.play(asked)
    figure("calls of what refused us", sum(seen.calls for seen in again.values()), "0")
    for cell, seen in again.items():
        assert (seen.told.status, seen.told.code) == (502, cell.fault.code), cell.name
        assert (seen.calls, seen.outcomes) == (0, ()), cell.name


def test_a_second_target_has_what_the_first_left_of_the_time(
    played: Played, figure: Figure
) -> None:
    """The first is given up at its limit of silence, the second at the deadline of the request."""
    asked = [cell for cell in cells() if cell.fault.name == "no first token" and cell.fallback]
    late: dict[Cell, float] = {}
    for _ in range(TRIES):
        again = [cell for cell in asked if late.get(cell, LIMIT_S) > LATE_S]
        for cell, seen in played.matrix.play(again, silent=True).items():
            late[cell] = seen.seconds - SHARED_S
            assert (seen.told.status, seen.told.code) == (504, "deadline_exceeded"), cell.name
            assert (seen.calls, seen.second) == (1, 1), cell.name
            assert seen.outcomes == ("uncertain", "uncertain"), cell.name
    figure(
        "behind a deadline of two targets, slowest, ms", round(max(late.values()) * 1000), "≤ 250"
    )
    in_time(max(late.values()), LATE_S)


def ends_by_time(cell: Cell) -> bool:
    """Say whether nothing but time ends what a cell waits for."""
    fault = cell.fault
    return fault.late or (fault.pool == "impatient" and not fault.started)


def timed(played: Played, asked: Sequence[Cell]) -> dict[Cell, Seen]:
    best = {cell: played.seen[cell] for cell in asked}
    for _ in range(TRIES - 1):
        again = [cell for cell in asked if not prompt(cell, best[cell])]
        best |= played.matrix.play(again) if again else {}
    return best


def prompt(cell: Cell, seen: Seen) -> bool:
    if cell.fault.late:
        return seen.seconds <= cell.deadline_s + LATE_S
    return all(abs(wait - IMPATIENT_S) <= OFF_S for wait in seen.waits)


def _false_end(cell: Cell, seen: Seen | None) -> bool:
    """Say whether an answer that broke looks as if it were whole."""
    if seen is None or not expected(cell).in_stream:
        return False
    return seen.told.clean or END[cell.caller] in seen.told.text


CUT, REPEATED = "clean end without the last event", "500"


def test_a_gateway_that_believes_and_repeats_goes_red(
    sqlite_databases: SqliteDatabases, tmp_path: Path, output: Path
) -> None:
    """Control: cut answers taken for whole ones, and what may be billed repeated for ever."""
    chosen = {cell for cell in cells() if cell.fault.name in {CUT, REPEATED}}
    asked = [cell for cell in chosen if (cell.stream, cell.fallback) == (True, False)]
    mutant = "+credulous+stubborn"
    with served(sqlite_databases, tmp_path, output, asked, mutant=mutant) as matrix:
        seen = matrix.play(asked)
    for cell in asked:
        if cell.fault.name == CUT:
            assert _false_end(cell, seen.get(cell)), cell.name
        else:
            assert seen[cell].calls == RETRY["max_attempts"], cell.name
