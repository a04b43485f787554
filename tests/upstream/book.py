"""Keep what the upstream was told, saw and would charge; the bill knows nothing of the gateway."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.upstream.batching import Batches
from tests.upstream.filing import Filing
from tests.upstream.keeping import Keeping
from tests.upstream.wire import (
    CANARY,
    MARKER,
    USAGE_VARIANTS,
    Answer,
    Dialect,
    Event,
    Json,
    Prompt,
    Tokens,
    ToolCall,
)

WORDS = 8  # of an answer that nobody scripted
POLICIES = ("full", "generated", "sent", "reported", "none")


@dataclass(frozen=True, slots=True)
class Script:
    """How one call is answered. `text` is a number of words, or the pieces themselves.

    `bill` empty means: in full where the status is a success, else nothing.
    """

    id: str = "default"
    steps: tuple[Json, ...] = ()
    text: int | tuple[str, ...] = WORDS
    calls: tuple[tuple[str, str], ...] = ()  # of tools: name and arguments
    usage: str | Json = "generated"
    bill: str = ""
    obeys_limit: bool = True
    cache_read: int = 0
    cache_write: int = 0


def parse_script(value: Mapping[str, Any]) -> Script:
    """Return the script of a JSON object; a word that is not understood is a ValueError."""
    known = set(Script.__dataclass_fields__)
    if unknown := set(value) - known:
        raise ValueError(f"a script has no {sorted(unknown)}; it has {sorted(known)}")
    if value.get("bill") and value["bill"] not in POLICIES:
        raise ValueError(f"bill is one of {POLICIES}")
    if isinstance(value.get("usage"), str) and value["usage"] not in USAGE_VARIANTS:
        raise ValueError(f"usage is an object or one of {sorted(USAGE_VARIANTS)}")
    fields = dict(value)
    for name, given in value.items():
        if isinstance(given, list):
            fields[name] = tuple(given)
    return Script(**fields)


@dataclass(slots=True, kw_only=True)
class Call:
    """One inference request and what became of it. Times are of the monotonic clock."""

    n: int
    connection: int
    method: str
    path: str
    head: bytes
    body: bytes
    received_at: float
    dialect: Dialect
    prompt: Prompt
    script: Script
    attempt: int
    answer: Answer
    events: list[Event]
    status: int = 0
    generated: int = 0  # tokens of the events that were produced
    sent: int = 0  # tokens of the events whose last byte was written
    sent_bytes: int = 0  # of a raw body, as far as somebody takes them
    reported: Json | None = None
    first_byte_at: float | None = None
    ended_at: float | None = None
    outcome: str = "running"  # complete | cut | ended | client_left
    closed_by: str | None = None

    def seen(self) -> Json:
        return {
            "n": self.n,
            "connection": self.connection,
            "method": self.method,
            "path": self.path,
            "raw_head": self.head.decode("latin-1"),
            "raw_body": self.body.decode("utf-8", "replace"),
            "dialect": self.dialect.name,
            "model": self.prompt.model,
            "script": self.script.id,
            "attempt": self.attempt,
            "status": self.status,
            "received_at": self.received_at,
            "first_byte_at": self.first_byte_at,
            "ended_at": self.ended_at,
            "outcome": self.outcome,
            "closed_by": self.closed_by,
            "sent_bytes": self.sent_bytes,
        }

    def policy(self) -> str:
        if not self.dialect.billable:
            return "none"
        return self.script.bill or ("full" if self.status < 400 else "none")

    def billed(self) -> Tokens:
        policy, whole = self.policy(), self.answer.tokens
        if policy == "none":
            return Tokens()
        if policy == "reported":
            return self.dialect.tokens(self.reported) if self.reported else Tokens()
        output = {"full": whole.output, "generated": self.generated, "sent": self.sent}[policy]
        return Tokens(whole.input, output, whole.cache_read, whole.cache_write)

    def bill_row(self, prices: Mapping[str, int]) -> Json:
        billed = self.billed()
        return {
            "n": self.n,
            "model": self.prompt.model,
            "dialect": self.dialect.name,
            "script": self.script.id,
            "attempt": self.attempt,
            "status": self.status,
            "outcome": self.outcome,
            "policy": self.policy(),
            "planned": self.answer.tokens.output,
            "generated": self.generated,
            "sent": self.sent,
            "reported": self.reported,
            "input": billed.input,
            "output": billed.output,
            "cache_read": billed.cache_read,
            "cache_write": billed.cache_write,
            "cost_nano_usd": cost(billed, prices),
        }


def cost(tokens: Tokens, prices: Mapping[str, int]) -> int:
    """Return nano-dollars; prices are nano-dollars per token, cached ones default to input's."""
    price = prices.get("input", 0)
    plain = tokens.input - tokens.cache_read - tokens.cache_write
    return (
        plain * price
        + tokens.cache_read * prices.get("cache_read", price)
        + tokens.cache_write * prices.get("cache_write", price)
        + tokens.output * prices.get("output", 0)
    )


@dataclass(slots=True)
class Book:
    """All state of the process; `changed` wakes those who wait for a call to come or to end."""

    scripts: dict[str, list[Script]] = field(default_factory=dict)
    prices: dict[str, dict[str, int]] = field(default_factory=dict)
    gates: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    calls: list[Call] = field(default_factory=list)
    keeping: Keeping = field(default_factory=Keeping)
    batches: Batches = field(default_factory=Batches)
    filing: Filing = field(default_factory=Filing)
    asked: list[str] = field(default_factory=list)  # of what is kept
    attempts: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)
    peaks: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    ended: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def chosen(self, prompt: Prompt) -> tuple[Script, int]:
        """Return the script for this prompt and which attempt on it this is, from 1."""
        marker = MARKER.search(prompt.last_user)
        name = marker.group(1) if marker else prompt.model
        self.attempts[name] += 1
        attempt = self.attempts[name]
        sequence = self.scripts.get(name)
        return (sequence[min(attempt, len(sequence)) - 1] if sequence else Script()), attempt

    def begin(self, call: Call) -> None:
        model = call.prompt.model
        self.calls.append(call)
        self.running[model] += 1
        self.peaks[model] = max(self.peaks[model], self.running[model])
        self.peak = max(self.peak, self.running.total())
        self.wake()

    def end(self, call: Call, outcome: str, closed_by: str | None, *, at: float) -> None:
        call.outcome, call.closed_by, call.ended_at = outcome, closed_by, at
        self.running[call.prompt.model] -= 1
        self.ended += 1
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def bill(self) -> Json:
        rows = [call.bill_row(self.prices.get(call.prompt.model, {})) for call in self.calls]
        return {"rows": rows, "total_nano_usd": sum(row["cost_nano_usd"] for row in rows)}


def answered(n: int, dialect: Dialect, prompt: Prompt, script: Script, body: Json) -> Answer:
    """Return what the model would answer in full: canaries first, then the scripted words."""
    pieces = _pieces(n, prompt, script)
    limited = prompt.limit is not None and script.obeys_limit
    kept = pieces[: prompt.limit] if limited else pieces
    calls = tuple(
        ToolCall(f"call_up{n}_{place}", name, arguments)
        for place, (name, arguments) in enumerate(script.calls)
    )
    output = (len(kept) + len(calls)) * prompt.choices
    tokens = Tokens(prompt.tokens, output, script.cache_read, script.cache_write)
    if isinstance(script.usage, str):
        usages = USAGE_VARIANTS[script.usage](dialect.usage(tokens))
    else:
        usages = [script.usage]
    return Answer(
        n=n,
        prompt=prompt,
        body=body,
        pieces=kept,
        calls=calls,
        finish=_finish(cut=kept != pieces, calls=bool(calls)),
        tokens=tokens,
        usages=tuple(usages),
        usage_path=("x_provider", "usage") if script.usage == "misplaced" else ("usage",),
    )


def _finish(*, cut: bool, calls: bool) -> str:
    if cut:
        return "length"
    return "tool_calls" if calls else "stop"


def _pieces(n: int, prompt: Prompt, script: Script) -> tuple[str, ...]:
    if not isinstance(script.text, int):
        return script.text
    canaries = CANARY.findall(prompt.text)
    words = [*canaries, f"CANARY-answer-{n:08x}"] if canaries else []
    words += [f"w{i + 1}" for i in range(script.text)]
    return tuple(word if i == 0 else f" {word}" for i, word in enumerate(words))
