"""What upstreams do wrong and what comes of it, row by row as faults.md §1 and §2 say it.

The table is written from that page, not from what the gateway does: where the two differ, the
gateway is wrong.
"""

import gzip
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from typing_extensions import override

from tests.upstream.scripts import (
    Script,
    answer,
    cut,
    dripping,
    ended_early,
    error_in_stream,
    failing,
    garbage,
    gated,
    gzip_bomb,
    lines_ending,
    raw,
    split,
    stalled,
)

Pool = Literal["plain", "once", "impatient", "refused", "nowhere", "untrusted", "blackhole"]
Outcome = Literal["failed", "uncertain", "settled"]

KEY = "sk-proj-abcdefgh12345678"
TEXT = f"the provider speaks of {KEY}"
SAID = "one two three four five six"
DATE, LATER = "Tue, 07 Jan 2020 10:00:00 GMT", "Tue, 07 Jan 2020 10:00:20 GMT"
SPOKEN = 4  # events within which every dialect has said its first word
LONG_LINE = "a line of 1 MiB"  # told to the upstream once: it is too long to be told each time
SOON = range(3, 8)  # where the provider says nothing to go by: 5 s ± 25 %, rounded up
TWENTY = range(19, 22)
ANY_TIME = range(1, 61)
DEADLINE_S = 0.8
HANG_S = 10.0  # the deadline of all others


@dataclass(frozen=True, slots=True)
class Cell:
    """One request: which fault, who asks in which form, and whether another target could answer."""

    fault: "Fault"
    caller: str
    kind: str  # what the provider speaks
    stream: bool
    fallback: bool

    @property
    def name(self) -> str:
        form = "stream" if self.stream else "whole"
        where = "or-second" if self.fallback else "alone"
        return f"{self.fault.name}-{self.caller}-{self.kind}-{form}-{where}".replace(" ", "-")

    @property
    def second(self) -> str:
        return f"{self.name}--second"

    @property
    def asked(self) -> str:
        return f"{self.name}--route" if self.fallback else self.name

    @property
    def streamed(self) -> bool:
        """Whether the provider streams: it is asked to also where dialects differ (§3)."""
        return self.stream or self.caller != self.kind

    @property
    def pool(self) -> "Pool":
        # One try in all would leave none for the second target.
        return "plain" if self.fallback and self.fault.pool == "once" else self.fault.pool

    @property
    def deadline_s(self) -> float:
        return DEADLINE_S if self.fault.late else HANG_S


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of §2, or one of its faults; without `started` it shows before the first token.

    `tries` are those at a target that is alone. `started` is the code inside a running stream.
    `final`: no other target is asked. `hopeless`: the caller is told not to try again.
    `events`: only where there is a stream of events.
    """

    name: str
    script: Callable[[Cell], Script | str]
    status: int = 502
    code: str = "upstream_error"
    tries: int = 2
    outcome: Outcome = "uncertain"
    pool: Pool = "plain"
    retry_after: range | None = None
    started: str = ""
    final: bool = False
    hopeless: bool = False
    said: bool = False
    fine: bool = False
    late: bool = False
    events: bool = False

    @override
    def __str__(self) -> str:
        return self.name

    @property
    def reached(self) -> bool:
        """Whether the upstream sees anything of a call."""
        return self.pool in {"plain", "once", "impatient"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What becomes of a cell: `in_stream` is the code that ends its stream."""

    status: int
    code: str = ""
    in_stream: str = ""
    calls: int = 1
    second: int = 0
    outcomes: tuple[str, ...] = ("settled",)
    retry_after: range | None = None

    @property
    def further(self) -> int:
        """How many attempts the retry budget has to pay for."""
        return len(self.outcomes) - 1


def expected(cell: Cell) -> Expected:
    fault = cell.fault
    if fault.fine:
        return Expected(200)
    if fault.started and cell.stream:
        return Expected(200, in_stream=fault.started, outcomes=(fault.outcome,))
    if cell.fallback and not fault.final:
        outcomes = (fault.outcome, "settled")
        return Expected(200, calls=int(fault.reached), second=1, outcomes=outcomes)
    return Expected(
        fault.status,
        fault.code,
        calls=fault.tries if fault.reached else 0,
        outcomes=(fault.outcome,) * fault.tries,
        retry_after=fault.retry_after,
    )


# --- how rows are written ---------------------------------------------------------------------


def always(script: Script | str) -> Callable[[Cell], Script | str]:
    return lambda _cell: script


def limited(name: str, wait: range, **headers: str) -> Fault:
    """Only one try: how long is waited for the next is a matter of F3."""
    return Fault(
        f"429 {name}",
        always(failing(429, TEXT, **headers)),
        status=429,
        code="upstream_rate_limited",
        tries=1,
        outcome="failed",
        pool="once",
        retry_after=wait,
    )


def refused(status: int, code: str) -> Fault:
    return Fault(f"{status}", always(failing(status, TEXT)), code=code, tries=1, outcome="failed")


def rejected(status: int, code: str, *, shown: bool = True) -> Fault:
    return Fault(
        f"{status}",
        always(failing(status, TEXT)),
        status=status if shown else 502,
        code=code,
        tries=1,
        outcome="failed",
        final=True,
        hopeless=True,
        said=shown,
    )


def away(status: int) -> Fault:
    return replace(not_sent("plain"), name=f"{status}", script=always(failing(status, TEXT)))


def not_sent(pool: Pool) -> Fault:
    return Fault(
        pool,
        always(Script()),
        status=503,
        code="no_target_available",
        tries=3,
        outcome="failed",
        pool=pool,
        retry_after=ANY_TIME,
    )


def silent(name: str, script: Script) -> Fault:
    return Fault(
        name,
        always(script),
        status=504,
        code="upstream_timeout",
        pool="impatient",
        events=True,
    )


def invalid(name: str, script: Script, *, events: bool = False) -> Fault:
    return Fault(name, always(script), code="upstream_invalid", events=events)


def broken(name: str, how: Callable[[bool], Script], code: str = "upstream_error") -> Fault:
    """Break off behind the first token; `how` hears whether the provider streams.

    A caller that streams has it by then: a gate sees to that.
    """

    def script(cell: Cell) -> Script:
        return answer(SAID) + spoken(cell) + how(cell.streamed)

    return Fault(name, script, started=code)


def spoken(cell: Cell) -> Script:
    """Say the first words, where there are events to say them in."""
    if cell.stream:
        return gated(cell.name, SPOKEN)
    return step(head=True) + events(SPOKEN) if cell.streamed else Script()


def harmless(name: str, script: Script) -> Fault:
    return Fault(name, always(answer(SAID) + script), fine=True, events=True)


def step(**what: Any) -> Script:
    return Script(steps=(what,))


def piece(payload: bytes) -> Script:
    return step(raw=b64encode(payload).decode())


def events(count: int) -> Script:
    return step(events=count)


def header(name: str, value: str) -> Script:
    return step(header=[name, value])


def long_line() -> Script:
    return piece(b'data: {"x": "' + b"x" * (1 << 20) + b'"}\n\n')


PACKED = gzip.compress(b'{"id": "x", "choices": []}' * 9)
HTML = b"<html><body>the provider speaks of an outage</body></html>"
MALFORMED = b"data: {this is no JSON\n\n"
NOT_TEXT = b'data: {"id": "\xff\xfe", \xc3(\n\n'
PING = b": keep-alive\n\n"
EVENTS = "text/event-stream"
JSON = "application/json"
DECLARED = header("Content-Length", "100000")

FAULTS = [
    # 429
    limited("seconds", TWENTY, retry_after="20"),
    limited("date", TWENTY, retry_after=LATER, date=DATE),
    limited("ms", TWENTY, retry_after_ms="20000", retry_after="7"),
    limited(
        "reset",
        TWENTY,
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="20s",
        x_ratelimit_remaining_tokens="900",
        x_ratelimit_reset_tokens="6m0s",
    ),
    limited("alone", SOON),
    limited("garbage", SOON, retry_after="soon"),
    limited("negative", SOON, retry_after="-5"),
    limited("huge", SOON, retry_after="99999999"),
    limited("a week", SOON, retry_after="500000"),
    limited("huge ms", SOON, retry_after_ms="1e400"),
    limited("past date", SOON, retry_after=DATE, date=LATER),
    limited("garbled reset", SOON, x_ratelimit_reset_requests="garbage"),
    # our credential, our name
    refused(401, "upstream_auth"),
    refused(403, "upstream_auth"),
    refused(404, "upstream_error"),
    # the request itself
    rejected(400, "invalid_request_error"),
    rejected(413, "request_too_large"),
    rejected(422, "invalid_request_error"),
    rejected(418, "upstream_error", shown=False),
    # servers
    *(Fault(f"{status}", always(failing(status, TEXT))) for status in (500, 502, 504)),
    away(503),
    away(529),
    # not sent
    not_sent("nowhere"),
    not_sent("refused"),
    not_sent("blackhole"),
    not_sent("untrusted"),
    # silence
    silent("no head", stalled()),
    silent("no first token", stalled(0)),
    silent("one byte per second", dripping(1)),
    silent("comments alone", step(head=True) + piece(PING) + step(stall=True)),
    replace(
        broken("idle between events", lambda _streamed: stalled(0), "upstream_timeout"),
        status=504,
        code="upstream_timeout",
        pool="impatient",
        events=True,
    ),
    replace(
        broken("one byte per second later", lambda _streamed: dripping(1), "upstream_timeout"),
        status=504,
        code="upstream_timeout",
        pool="impatient",
        events=True,
    ),
    # cut
    Fault("fin before its head", always(cut("fin", at_byte=0))),
    Fault("rst before its head", always(cut("rst", at_byte=0))),
    broken("fin", lambda streamed: cut("fin") if streamed else cut("fin", at_byte=20)),
    broken("rst", lambda streamed: cut("rst") if streamed else cut("rst", at_byte=20)),
    Fault(
        "short length",
        lambda cell: (
            (DECLARED if cell.streamed else Script())
            + answer(SAID)
            + spoken(cell)
            + (cut("fin") if cell.streamed else cut("short_length"))
        ),
        started="upstream_error",
    ),
    replace(
        broken("clean end without the last event", lambda _streamed: ended_early(0)), events=True
    ),
    # what is no answer
    harmless("malformed line", step(head=True) + events(3) + piece(MALFORMED)),
    replace(
        broken("malformed and over", lambda _streamed: piece(MALFORMED) + step(end=True)),
        events=True,
    ),
    invalid("garbage", garbage()),
    invalid("truncated gzip", header("Content-Encoding", "gzip") + raw(PACKED[:40])),
    invalid("wrong gzip", header("Content-Encoding", "gzip") + raw(b'{"id": "x"}')),
    invalid("a bomb", gzip_bomb(1 << 26)),
    invalid("a list", raw(b"[1, 2]", content_type=JSON)),
    invalid("length too small", header("Content-Length", "20") + answer(SAID)),
    invalid("html", raw(HTML, content_type="text/html")),
    invalid("html for events", raw(HTML, content_type=EVENTS), events=True),
    invalid("empty", raw(b"", content_type=JSON)),
    invalid("no events", raw(b"", content_type=EVENTS), events=True),
    invalid("half an object", raw(b'{"id": "x", "cho', content_type=JSON)),
    invalid("not UTF-8", raw(b'{"id": "\xff\xfe"}', content_type=JSON)),
    invalid("events not UTF-8", raw(NOT_TEXT, content_type=EVENTS), events=True),
    harmless("an event not UTF-8", step(head=True) + events(3) + piece(NOT_TEXT)),
    Fault("long line", always(LONG_LINE), code="upstream_invalid", events=True),
    Fault(
        "long line later",
        always(f"{LONG_LINE} later"),
        code="upstream_invalid",
        started="upstream_invalid",
        events=True,
    ),
    # errors inside a 200
    # The provider has told how it ended: `failed`, and only what it reports is charged (money §11).
    Fault("error object", always(error_in_stream(0, 500, TEXT)), outcome="failed", events=True),
    replace(
        limited("object", SOON), name="429 object", script=always(error_in_stream(0, 429, TEXT))
    ),
    replace(
        broken("error object later", lambda _streamed: error_in_stream(0, 500, TEXT)),
        events=True,
        outcome="failed",
    ),
    # harmless
    harmless("CRLF", lines_ending("\r\n")),
    harmless("CR", lines_ending("\r")),
    harmless("comments", step(head=True) + piece(PING) + events(2) + piece(PING * 3)),
    harmless("byte by byte", split(1)),
    # deadlines
    replace(silent("deadline", stalled()), code="deadline_exceeded", tries=1, pool="plain",
            final=True, late=True, events=False),
    replace(
        broken("deadline later", lambda _streamed: stalled(0), "deadline_exceeded"),
        status=504, code="deadline_exceeded", tries=1, final=True, late=True, events=True,
    ),
]  # fmt: skip

DIALECTS = ("openai", "anthropic", "gemini")
ACROSS = dict(zip(DIALECTS, (*DIALECTS[1:], DIALECTS[0]), strict=True))


def cells() -> Iterator[Cell]:
    """Yield every fault for each dialect, in either form, with another target and without.

    Half of them are asked in their provider's dialect, the others across.
    """
    for fault, caller, stream, fallback in product(FAULTS, DIALECTS, (False, True), (False, True)):
        kind = caller if stream == fallback else ACROSS[caller]
        cell = Cell(fault, caller, kind, stream, fallback)
        if cell.streamed or not fault.events:
            yield cell
        else:  # no events in a whole answer of the same dialect
            yield replace(cell, kind=ACROSS[caller])


def later_line() -> Script:
    return answer(SAID) + step(head=True) + events(SPOKEN) + long_line()
