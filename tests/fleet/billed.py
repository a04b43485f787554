"""Draw a thousand requests with what their providers do and bill, and hold both books together.

A provider that fails bills what it took in and gave out until then: that is what we charge, too.
"""

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.fleet.town import BILLED
from tests.harness.books import Row
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect
from tests.upstream.client import BillRow
from tests.upstream.scripts import (
    Script,
    cut,
    delayed,
    dripping,
    ended_early,
    error_in_stream,
    failing,
    garbage,
    paced,
    raw,
    split,
    stalled,
)

# A few hundred cut answers are a small sample: on a busy machine their sum is off by chance.
TOLERANCE = 0.02 if os.environ.get("MOBIUS_TEST_STRICT") == "1" else 0.06
ACQUAINTED = 100
EXACT, NOTHING, GUESS = "exact", "nothing", "guess"  # what the provider tells of a call's usage
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"

Told = tuple[Script, str]
Fault = Callable[[bool], Script]  # whether the upstream streams


def sent(script: Script) -> Script:
    return script.but(bill="sent")


def unbilled(script: Script) -> Script:
    return script.but(bill="none")


FAULTS: dict[str, tuple[Fault, str]] = {
    "429": (lambda _: unbilled(failing(429, retry_after="1")), NOTHING),
    "400": (lambda _: unbilled(failing(400)), NOTHING),
    "422": (lambda _: unbilled(failing(422)), NOTHING),
    "503": (lambda _: unbilled(failing(503)), NOTHING),
    "529": (lambda _: unbilled(failing(529)), NOTHING),
    "500": (lambda _: sent(failing(500)), GUESS),
    "502": (lambda _: sent(failing(502)), GUESS),
    "504": (lambda _: sent(failing(504)), GUESS),
    "cut": (lambda _: sent(cut("rst", at_byte=0)), GUESS),
    "cut later": (
        lambda stream: cut("fin", at_event=6) if stream else cut("fin", at_byte=20),
        GUESS,
    ),
    "reset": (
        lambda stream: cut("rst", at_event=4) if stream else cut("rst", at_byte=99),
        GUESS,
    ),
    "end too soon": (lambda stream: ended_early(6) if stream else sent(raw(b"{")), GUESS),
    "html": (lambda _: sent(raw(b"<html>", content_type="text/html")), GUESS),
    "garbage": (lambda _: sent(garbage()), GUESS),
    "silence": (lambda _: sent(stalled()), GUESS),
    "silence later": (lambda stream: sent(stalled(6) if stream else stalled()), GUESS),
    "error inside": (
        lambda stream: unbilled(error_in_stream(5) if stream else failing(503)),
        NOTHING,
    ),
}
USAGES: dict[str, str] = {
    "generated": EXACT,
    "twice": EXACT,
    "decreasing": EXACT,
    "zero": EXACT,
    "absent": GUESS,
    "misplaced": GUESS,
    "negative": GUESS,
    "text": GUESS,
    "huge": GUESS,
}
SPEEDS = (paced(1), split(40), dripping(200_000), delayed(5))


@dataclass(frozen=True, slots=True)
class Case:
    """One request: how it is asked, and what its attempts meet, in order; the last one stays."""

    id: str
    caller: Dialect
    stream: bool
    streamed: bool  # by the provider, whatever the caller asks
    target: str
    content: str
    what: str = ""
    attempts: tuple[Told, ...] = ()
    leave: dict[str, Any] = field(default_factory=dict)

    def meeting(self, what: str, *attempts: Told) -> "Case":
        return replace(self, what=what, attempts=attempts)

    @property
    def name(self) -> str:
        return f"bill-{self.id}-{self.what}".replace(" ", "-")

    def fields(self) -> dict[str, Any]:
        """Return what its body says, and how long its caller stays."""
        openai = self.caller is OPENAI
        named = {"user": self.name} if openai else {"metadata": {"user_id": self.name}}
        content = f"{self.content} [[script:{self.name}]]"
        return {"content": content, "max_tokens": 400, "stream": self.stream, **named, **self.leave}

    def told(self, row: BillRow) -> bool:
        """Say whether the provider told what a call used, and the gateway waited for that."""
        tag = self.attempts[min(row.attempt, len(self.attempts)) - 1][1]
        return tag != GUESS and row.outcome != "client_left"


class Draw:
    """Requests of every kind, in both dialects to both providers, streamed and not."""

    def __init__(self, seed: int) -> None:
        self._seed, self._rng = seed, (rng := random.Random(seed))
        self._vocabulary = ["".join(rng.choices(LETTERS, k=rng.randint(1, 11))) for _ in range(500)]

    def cases(self, count: int) -> Iterator[Case]:
        """Yield that many; the first ones are plain: nobody counts well whom he does not know."""
        weights = (40, 24, 16, 10, 4, 6)
        kinds = (self._plain, self._fault, self._usage, self._leaves, self._late, self._tool)
        drawn = [*[self._plain] * ACQUAINTED, *self._rng.choices(kinds, weights, k=count)]
        for number, draw in enumerate(drawn[:count]):
            caller = self._rng.choice((OPENAI, ANTHROPIC))
            kind = self._rng.choice(("openai", "anthropic"))
            first = f"bill-{kind}-{self._rng.randrange(BILLED)}"
            case = Case(
                id=f"{self._seed}-{number}",
                caller=caller,
                stream=self._rng.random() < 0.6,
                streamed=caller.name != kind,
                target=self._rng.choice((first, f"{first}-or-second")),
                content=" ".join(self._words(20, 120)),
            )
            yield draw(case)

    def _plain(self, case: Case) -> Case:
        return case.meeting("plain", (self._honest(), EXACT))

    def _fault(self, case: Case) -> Case:
        name = self._rng.choice([*FAULTS])
        fault, tag = FAULTS[name]
        streamed = case.stream or case.streamed
        return case.meeting(name, (self._said() + fault(streamed), tag), (self._honest(), EXACT))

    def _usage(self, case: Case) -> Case:
        usage = self._rng.choice([*USAGES])
        tag = USAGES[usage]
        # A provider knows what it did, whatever it says of it.
        bill = "reported" if tag == EXACT else "full"
        return case.meeting(f"usage {usage}", (self._honest().but(usage=usage, bill=bill), tag))

    def _leaves(self, case: Case) -> Case:
        leave = {"leave_at": 1} if case.stream else {"leave_after_s": 0.02}
        return replace(case.meeting("leaves", (self._said() + paced(2), EXACT)), leave=leave)

    def _late(self, case: Case) -> Case:
        leave = {"headers": {"x-mobius-timeout": "0.5"}}
        late = case.meeting("late", (self._said() + sent(stalled(6)), GUESS))
        return replace(late, stream=True, leave=leave)

    def _tool(self, case: Case) -> Case:
        asks = self._said().but(calls=(("look", '{"at": 1}'),))
        return case.meeting("tool", (asks, EXACT))

    def _honest(self) -> Script:
        """Return an answer without a fault, at some speed."""
        script = self._said()
        return self._rng.choice((script, script, script + self._rng.choice(SPEEDS)))

    def _said(self) -> Script:
        """Return an answer in words of any length; who leaves before its end pays what was sent."""
        said = self._words(5, 60)
        text = tuple(word if n == 0 else f" {word}" for n, word in enumerate(said))
        return Script(text=text, bill="sent")

    def _words(self, least: int, most: int) -> list[str]:
        return self._rng.choices(self._vocabulary, k=self._rng.randint(least, most))


# --- the two books


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the bill and the ledger differ. Sums are of what no usage told; all are nano-dollars."""

    exact: dict[str, tuple[int, int]]
    unflagged: dict[str, tuple[int, int]]
    guessed_bill: int
    guessed_charge: int

    @property
    def off(self) -> float:
        return abs(self.guessed_charge - self.guessed_bill) / max(1, self.guessed_bill)

    def check(self) -> None:
        assert self.exact == {}, "charged otherwise than billed"
        assert self.unflagged == {}, "guessed, but not flagged so"
        assert self.off <= TOLERANCE, f"{self.off:.2%} off in sum: {self}"


def compared(cases: Sequence[Case], bill: Sequence[BillRow], entries: Sequence[Row]) -> Verdict:
    """Compare request by request where usage was told, and in sum where it was not."""
    billed, charged = defaultdict[str, list[BillRow]](list), defaultdict[str, list[Row]](list)
    for row in bill:
        billed[row.script].append(row)
    for entry in entries:
        charged[entry["end_user"]].append(entry)
    exact, unflagged, guessed_bill, guessed_charge = {}, {}, 0, 0
    for case in cases:
        rows, mine = billed[case.name], charged[case.name]
        told = sum(row.cost_nano_usd for row in rows if case.told(row))
        guesses = [row for row in rows if not case.told(row)]
        flagged = [entry for entry in mine if entry["estimated"]]
        sure = sum(entry["amount_nano"] for entry in mine if not entry["estimated"])
        if told != sure:
            exact[case.name] = (told, sure)
        if len(guesses) != len(flagged):
            unflagged[case.name] = (len(guesses), len(flagged))
        guessed_bill += sum(row.cost_nano_usd for row in guesses)
        guessed_charge += sum(entry["amount_nano"] for entry in flagged)
    return Verdict(exact, unflagged, guessed_bill, guessed_charge)
