"""Sixty hostile numbers, as usage and in bodies: never a credit, never a crash (M9)."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.literals import HOSTILE, NEGATIVE, Literal
from tests.fleet.town import (
    NUMBERED,
    NUMBERS_INPUT_NANO,
    NUMBERS_OUTPUT_NANO,
    numbers,
    secret,
    town,
)
from tests.harness.books import Books, Row
from tests.harness.config import nano_prices
from tests.harness.crowd import Crowd, crowded, each
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Told
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import Script, raw, words

KEY = secret("numbers")
SAID = "w1 w2 w3 w4 w5 w6 w7 w8"
HONEST = 8  # what the other field says
LONGEST = 200  # tokens, of request and answer together
DEAREST_NANO = 10**15  # a million dollars: no answer costs that
AT_ONCE = 8

pytestmark = pytest.mark.promise("M9")


@dataclass(frozen=True, slots=True)
class Installation:
    """A gateway with the tenant of numbers: the fleet, or one process on SQLite."""

    gateway: GatewayProcess
    upstream: Upstream
    books: Books

    def entries(self) -> dict[str, Row]:
        """Return the terminal entries of our tenant, by the end user they name."""
        return {row["end_user"]: row for row in self.books.terminal() if row["end_user"]}


@pytest.fixture(scope="module")
def embedded(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Installation]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(town(upstream_process.base_url, NUMBERED, numbers()))
        yield Installation(gateway.serve(), upstream_process, Books(gateway))


@pytest.fixture(params=["postgres", "sqlite"])
def installation(request: pytest.FixtureRequest, upstream: Upstream) -> Installation:
    """Return each in turn, with an upstream that has seen nothing yet."""
    assert upstream.calls == []
    if request.param == "sqlite":
        embedded: Installation = request.getfixturevalue("embedded")
        return embedded
    fleet = request.getfixturevalue("fleet")
    return Installation(fleet.gateway, upstream, fleet.books)


# --- from the upstream


@dataclass(frozen=True, slots=True)
class Case:
    """One literal in one field of the usage of one kind of answer."""

    number: int
    literal: Literal
    field: str  # input or output
    anthropic: bool
    stream: bool
    run: str = "usage"

    @property
    def name(self) -> str:
        return f"{self.run}-{self.number}"

    @property
    def readable(self) -> bool:
        """Whether the answer is one at all: a whole one that is no JSON is not."""
        return self.literal.json or self.stream

    @property
    def exact_nano(self) -> int | None:
        """What is to be charged, where the usage is one that may be."""
        if self.literal.counts is None:
            return None
        counts = {"input": HONEST, "output": HONEST} | {self.field: self.literal.counts}
        exact = counts["input"] * NUMBERS_INPUT_NANO + counts["output"] * NUMBERS_OUTPUT_NANO
        return exact if exact <= DEAREST_NANO else None

    def script(self) -> Script:
        told = {self.field: self.literal.text}
        body = (_anthropic if self.anthropic else _openai)(told, stream=self.stream)
        kind = "text/event-stream" if self.stream else "application/json"
        return raw(body.encode(), content_type=kind)

    async def ask(self, crowd: Crowd) -> Told:
        dialect = ANTHROPIC if self.anthropic else OPENAI
        named = {"metadata": {"user_id": self.name}} if self.anthropic else {"user": self.name}
        model = "numbers-claude" if self.anthropic else "numbers"
        content = f"count, please [[script:{self.name}]]"
        return await crowd.ask(
            dialect, model, stream=self.stream, key=KEY, content=content, **named
        )


def usage_cases() -> list[Case]:
    """Return every literal in either field; the form of the answer goes round."""
    ways = [(literal, field) for literal in HOSTILE for field in ("input", "output")]
    forms = [(anthropic, stream) for anthropic in (False, True) for stream in (False, True)]
    cases = [
        Case(4 * n + m, literal, field, anthropic, stream)
        for n, (literal, field) in enumerate(ways)
        for m, (anthropic, stream) in enumerate(forms)
    ]
    random.Random(0).shuffle(cases)  # those that are no answers are apart: no circuit opens
    return cases


def _usage(told: dict[str, str], names: tuple[str, str]) -> str:
    counts = {"input": str(HONEST), "output": str(HONEST)} | told
    pairs = zip(names, (counts["input"], counts["output"]), strict=True)
    return "{" + ",".join(f'"{name}":{text}' for name, text in pairs) + "}"


def _openai(told: dict[str, str], *, stream: bool) -> str:
    usage = _usage(told, ("prompt_tokens", "completion_tokens"))
    envelope = '"id":"chatcmpl-1","created":1700000000,"model":"numbers"'
    if not stream:
        message = f'{{"role":"assistant","content":"{SAID}"}}'
        choice = f'{{"index":0,"message":{message},"finish_reason":"stop"}}'
        return f'{{{envelope},"object":"chat.completion","choices":[{choice}],"usage":{usage}}}'
    chunks = [
        f'"choices":[{{"index":0,"delta":{{"role":"assistant","content":"{SAID}"}},"finish_reason":null}}]',
        '"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]',
        f'"choices":[],"usage":{usage}',
    ]
    lines = [
        f'data: {{{envelope},"object":"chat.completion.chunk",{chunk}}}\n\n' for chunk in chunks
    ]
    return "".join([*lines, "data: [DONE]\n\n"])


def _anthropic(told: dict[str, str], *, stream: bool) -> str:
    usage = _usage(told, ("input_tokens", "output_tokens"))
    message = '"id":"msg_1","type":"message","role":"assistant","model":"numbers-claude"'
    if not stream:
        content = f'[{{"type":"text","text":"{SAID}"}}]'
        return (
            f'{{{message},"content":{content},"stop_reason":"end_turn","stop_sequence":null,'
            f'"usage":{usage}}}'
        )
    events = {
        "message_start": f'"message":{{{message},"content":[],"stop_reason":null,"usage":{usage}}}',
        "content_block_start": '"index":0,"content_block":{"type":"text","text":""}',
        "content_block_delta": f'"index":0,"delta":{{"type":"text_delta","text":"{SAID}"}}',
        "content_block_stop": '"index":0',
        "message_delta": f'"delta":{{"stop_reason":"end_turn"}},"usage":{usage}',
    }
    lines = [
        f'event: {name}\ndata: {{"type":"{name}",{rest}}}\n\n' for name, rest in events.items()
    ]
    return "".join([*lines, 'event: message_stop\ndata: {"type":"message_stop"}\n\n'])


def wrong(case: Case, told: Told, entry: Row | None) -> str:
    """Say what is wrong: a count is charged as it is, anything else is counted, and flagged."""
    if not case.readable:
        return "" if told.status == 502 else f"{told.status} for what is no JSON"
    if told.status != 200 or not told.clean or entry is None:
        return f"{told.status}, clean: {told.clean}, entry: {entry}"
    amount, estimated = entry["amount_nano"], bool(entry["estimated"])
    if case.exact_nano is not None:
        return "" if (amount, estimated) == (case.exact_nano, False) else f"{amount}, not exact"
    # Our own count: some tokens of each, and no more than a short answer can have.
    counted = estimated and 0 < amount < LONGEST * NUMBERS_OUTPUT_NANO
    return "" if counted else f"{amount}, estimated: {estimated}"


async def asked(crowd: Crowd, cases: Sequence[Case]) -> list[Told]:
    return await each(cases, lambda case: case.ask(crowd), at_once=AT_ONCE)


def faults(installation: Installation, cases: Sequence[Case], port: int) -> dict[Case, str]:
    """Ask with every case and return what is wrong."""
    for case in cases:
        installation.upstream.script(case.name, case.script())
    told = crowded(port, lambda crowd: asked(crowd, cases))
    entries = installation.entries()
    return {
        case: what
        for case, one in zip(cases, told, strict=True)
        if (what := wrong(case, one, entries.get(case.name)))
    }


def test_no_number_of_the_upstream_becomes_a_credit_or_a_crash(installation: Installation) -> None:
    assert faults(installation, usage_cases(), installation.gateway.port) == {}
    check_sound(installation)


def test_numbers_that_are_trusted_become_credits(fleet: Fleet) -> None:
    """Control: a process that takes every number for a count."""
    installation = Installation(fleet.gateway, fleet.upstream, fleet.books)
    cases = [replace(case, run="trusting") for case in usage_cases() if case.literal in NEGATIVE]
    with fleet.mutant("trusting") as port:
        assert len(faults(installation, cases, port)) == len(cases)


# What the upstream's own words for usage have to come to: exact, or counted by us.
EXACT = ("generated", "twice", "decreasing", "zero")
COUNTED = ("absent", "misplaced", "negative", "nan", "text", "huge")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["numbers", "numbers-claude"])
def test_usage_that_is_missing_or_changes_is_never_a_guess_unflagged(
    installation: Installation, model: str, stream: bool
) -> None:
    upstream, known = installation.upstream, {"exact": EXACT, "counted": COUNTED}
    upstream.prices(**nano_prices(NUMBERED))
    entries: dict[str, list[Row]] = {kind: [] for kind in known}
    for kind, usages in known.items():
        for usage in usages:
            bill = "reported" if kind == "exact" else "none"
            upstream.script(model, words(8).but(usage=usage, bill=bill))
            told = OPENAI.ask(installation.gateway.url, model, stream=stream, key=KEY)
            # A whole answer that says NaN is no JSON, and so no answer.
            nonsense = (usage, model, stream) == ("nan", "numbers", False)
            assert told.status == (502 if nonsense else 200)
            entries[kind] += installation.books.terminal(told.request_id)
    bill_rows = upstream.bill().rows[: len(EXACT)]
    exact, counted = entries["exact"], entries["counted"]
    assert [row["amount_nano"] for row in exact] == [row.cost_nano_usd for row in bill_rows]
    assert exact[-1]["amount_nano"] == 0
    assert not any(row["estimated"] for row in exact)
    assert all(row["estimated"] and row["amount_nano"] > 0 for row in counted)
    assert len(counted) >= len(COUNTED) - 1


def check_sound(installation: Installation) -> None:
    """Nothing failed inside, and the books add up."""
    log = installation.gateway.log
    assert "Traceback" not in log
    assert "ledger.failed" not in log
    audit = installation.books.audit()
    assert (audit.code, audit.ok, audit.differences) == (0, True, [])


# --- by the body of a request


@dataclass(frozen=True, slots=True)
class Field:
    """One number of a body: where it is sent, how it is written, and how a refusal names it."""

    path: str
    body: str  # with LITERAL in its place
    name: str
    hard: bool = True
    dear: bool = False  # whatever the number, it costs more than there is

    def request(self, literal: Literal) -> bytes:
        return self.body.replace("LITERAL", literal.text).encode()


CHAT = '{"model":"numbers","messages":[{"role":"user","content":"hi"}],%s:LITERAL}'
MESSAGES = '{"model":"numbers","messages":[{"role":"user","content":"hi"}],"max_tokens":%s}'
SEARCH = '{"type":"web_search_20250305","name":"web_search","max_uses":LITERAL}'
FIELDS = [
    Field("/v1/chat/completions", CHAT % '"max_tokens"', "max_tokens"),
    Field("/v1/chat/completions", CHAT % '"max_tokens"', "max_tokens", hard=False),
    Field("/v1/chat/completions", CHAT % '"max_completion_tokens"', "max_completion_tokens"),
    Field("/v1/chat/completions", CHAT % '"max_tokens":8,"n"', "n"),
    Field("/v1/messages", MESSAGES % "LITERAL", "max_tokens"),
    Field(
        "/v1/messages",
        MESSAGES.replace("numbers", "numbers-search") % f'8,"tools":[{SEARCH}]',
        "tools",
        dear=True,
    ),
    Field("/api/v1/llm/complete", CHAT % '"max_tokens"', "max_tokens"),
]
UP_TO = 4096  # tokens that every model here has


def refused_wrong(field: Field, literal: Literal, told: Told) -> str:
    """Say what is wrong with an answer: what is no such number is refused by the field's name."""
    if told.status == 402:
        big = (literal.counts or 0) > UP_TO
        return "" if big or field.dear else f"402 for {literal.text}"
    if told.status == 200:
        return ""
    if told.status != 400:
        return f"{told.status}: {told.text}"
    if field.name in told.text or not literal.json:
        return ""
    return f"not named: {told.text}"


def test_no_number_of_a_body_becomes_a_credit_or_a_crash(installation: Installation) -> None:
    cases = [(field, literal) for field in FIELDS for literal in HOSTILE]

    async def ask(crowd: Crowd, field: Field, literal: Literal) -> Told:
        key = secret("numbers-hard") if field.hard else KEY
        dialect = ANTHROPIC if field.path == ANTHROPIC.path else OPENAI
        headers = {"Authorization": f"Bearer {key}", **dialect.headers}
        return await crowd.send(field.path, field.request(literal), headers)

    async def all_of_them(crowd: Crowd) -> list[Told]:
        return await each(cases, lambda case: ask(crowd, *case), at_once=AT_ONCE)

    told = crowded(installation.gateway.port, all_of_them)
    found = {
        (field.path, field.name, literal.text): what
        for (field, literal), one in zip(cases, told, strict=True)
        if (what := refused_wrong(field, literal, one))
    }
    assert found == {}
    check_sound(installation)
