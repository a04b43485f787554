"""A loop of tools goes round between every client and every provider, and nothing of it is lost.

The model thinks, signs what it thought and calls tools, twice over. The client sends all of it back
with the results, as its SDK gave it; the provider has to hear its own words, byte for byte.
"""

import json
import re
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from llm_gateway.adapters import CHAT_ADAPTERS, CHAT_UPSTREAMS
from llm_gateway.adapters.crossing import cross
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.row import Speech, address_of, speech_at
from llm_gateway.types import Call, Quirks
from tests.unit.adapters import golden, golden_providers, published
from tests.unit.adapters.golden import LIMIT, MODEL, REQUEST_ID, Bound
from tests.unit.adapters.looping import CLIENTS
from tests.unit.adapters.speaking import PROVIDERS, Heard, Provider, ToolUse, Turn, Wire

FIRST = Turn(
    1,
    "Two towns, two tools.",
    "EsQBCsEB+/8=",
    "c2VhbGVk+/8=",
    "I will look.",
    (
        ToolUse("call_1", "weather", {"town": 'Röm \n"', "days": [1, 2]}),
        ToolUse("call_2", "clock", {}),
    ),
)
SECOND = Turn(
    2, "One is left.", "c2Vjb25k/+8=", "", "", (ToolUse("call_3", "weather", {"town": "Köln"}),)
)
TURNS = (FIRST, SECOND)
# Some providers say what was thought in two words; a client of theirs sends back both.
SAID_TWICE = Quirks(thought_field="reasoning")
RESULTS = {"call_1": "24 degrees", "call_2": "noon\n", "call_3": "rain, 4°"}

each_pair = pytest.mark.parametrize(
    ("dialect", "name", "streamed"),
    [
        pytest.param(*one, id=f"{one[0]} to {one[1]} {'streamed' if one[2] else 'whole'}")
        for one in product(CLIENTS, PROVIDERS, (False, True))
    ],
)


class Loop:
    """One conversation through the adapters, as the gateway leads it."""

    def __init__(
        self, dialect: str, name: str, *, streamed: bool, without_ids: bool = False
    ) -> None:
        self.client, self.caller = CLIENTS[dialect], CHAT_ADAPTERS[dialect]
        self.provider: Provider = PROVIDERS[name]
        self.speech = spoken_by(self.provider.kind)
        self.upstream = self.speech.adapters["responses" if name == "openai_responses" else "chat"]
        self.streamed = streamed
        self.without_ids = without_ids  # the provider gives its calls none
        self.body: Wire = self.client.first()
        if streamed and dialect != "gemini":
            self.body["stream"] = True
        self.sent: list[Wire] = []
        self.met: list[ToolUse] = []  # calls, under the ids that the client got

    @property
    def relayed(self) -> bool:
        return self.upstream == self.caller.name

    def go_round(self, turn: Turn) -> None:
        """Ask, and answer the calls of the answer."""
        call = self._call()
        self.sent.append(self._sent(call))
        said = self.client.read(self._answered(call, turn), self.streamed)
        calls = self.client.calls(said)
        assert [(one.name, one.arguments) for one in calls] == [
            (one.name, one.arguments) for one in turn.calls
        ]
        self.met += calls
        given = [(one, RESULTS[own.id]) for one, own in zip(calls, turn.calls, strict=True)]
        history = self.body[self.client.history]
        self.body[self.client.history] = [
            *history, *self.client.said(said), *self.client.results(given)
        ]  # fmt: skip

    def heard(self) -> Heard:
        """Return what the provider reads of the conversation so far."""
        self.sent.append(self._sent(self._call()))
        return self.provider.heard(self.sent[-1])

    def _call(self) -> Call:
        parse: Any = self.caller.parse_call
        said = {"model": "m", "stream": self.streamed} if self.caller.name == "gemini" else {}
        call: Call = parse(json.loads(json.dumps(self.body)), size=1, **said)
        return call

    def _sent(self, call: Call) -> Wire:
        if self.relayed:
            out = self.caller.render_relay(call, Bound(), self.speech.quirks)
        else:
            asked = replace(
                self.caller.parse_request(call.body), model="m", stream=self.streamed, window=8192
            )
            upstream = CHAT_UPSTREAMS[self.upstream]
            out = cross(self.caller, upstream, asked, self.speech.quirks, default_max_tokens=LIMIT)
        body: Wire = json.loads(out.body)
        return body

    def _answered(self, call: Call, turn: Turn) -> bytes:
        if not self.streamed:
            body = self._as_said(json.dumps(self.provider.whole(turn)).encode())
            if self.relayed:
                return self.caller.relay_answer(body, model=MODEL)[0]
            events, _facts = CHAT_UPSTREAMS[self.upstream].read_answer(body)
            return golden.whole(self.caller, events, call)
        stream = self._as_said(self.provider.stream(turn))
        frames = [*self.provider.framer().feed(stream), golden.END]
        if self.relayed:
            return b"".join(map(self.caller.relay(call, model=MODEL).feed, frames))
        events, facts = golden_providers.read(CHAT_UPSTREAMS[self.upstream], frames)
        assert facts.complete
        assert facts.error is None
        writer = self.caller.writer(call, model=MODEL, request_id=REQUEST_ID)
        return b"".join(map(writer.feed, events)) + writer.end()

    def _as_said(self, said: bytes) -> bytes:
        return re.sub(rb'"id": "call_\d", ', b"", said) if self.without_ids else said


def spoken_by(kind: str) -> Speech:
    row = CATALOG[kind]
    options = {"region": "eu-central-1"}
    return speech_at(row, address_of(row, "", options), options)


def gone_round(dialect: str, name: str, *, streamed: bool) -> Loop:
    loop = Loop(dialect, name, streamed=streamed)
    for turn in TURNS:
        loop.go_round(turn)
    return loop


def test_every_protocol_of_chats_is_spoken_here() -> None:
    spoken = {Loop(next(iter(CLIENTS)), name, streamed=False).upstream for name in PROVIDERS}
    assert spoken == set(CHAT_UPSTREAMS)
    assert set(CLIENTS) == set(CHAT_ADAPTERS)


@each_pair
def test_the_provider_hears_what_it_said(dialect: str, name: str, streamed: bool) -> None:
    loop = gone_round(dialect, name, streamed=streamed)
    heard, provider = loop.heard(), loop.provider
    assert "".join(heard.thoughts) == "".join(turn.thought for turn in TURNS)
    assert heard.signatures == [one for turn in TURNS for one in provider.signs(turn)]
    assert heard.calls == [call for turn in TURNS for call in turn.calls]
    assert heard.results == list(RESULTS.items())
    assert [call.id for call in loop.met] == [call.id for call in heard.calls]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["gemini", "ollama"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_call_without_an_id_is_still_told_from_every_other(
    dialect: str, name: str, streamed: bool
) -> None:
    loop = Loop(dialect, name, streamed=streamed, without_ids=True)
    for turn in TURNS:
        loop.go_round(turn)
    heard = loop.heard()
    assert [call.id for call in heard.calls] == [id_ for id_, _ in heard.results]
    assert [text for _, text in heard.results] == list(RESULTS.values())
    if not loop.relayed:
        assert len({call.id for call in loop.met} - {""}) == len(RESULTS)
    assert [(call.name, call.arguments) for call in heard.calls] == [
        (call.name, call.arguments) for turn in TURNS for call in turn.calls
    ]


@pytest.mark.usefixtures("published_schemas")
@each_pair
def test_every_turn_is_one_that_the_provider_takes(dialect: str, name: str, streamed: bool) -> None:
    if (upstream := spoken(name)) not in CHAT_ADAPTERS:
        return
    loop = gone_round(dialect, name, streamed=streamed)
    loop.heard()
    assert len(loop.sent) == len(TURNS) + 1
    for body in loop.sent:
        plain = published.without_accent(body, loop.speech.quirks)
        if loop.relayed:  # as the provider itself had said it
            plain = published.without_accent(plain, SAID_TWICE)
        assert published.violations(upstream, "chat", plain) == []


def spoken(name: str) -> str:
    return Loop(next(iter(CLIENTS)), name, streamed=False).upstream
