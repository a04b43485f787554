"""A stream that is cut never looks complete, wherever and however it was; one in pieces is whole.

Here through the gateway over real sockets; at every byte in `tests/unit/test_streams_cut.py`.
"""

import http.client
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from tests.contract import test_gemini_same_dialect, test_same_dialect
from tests.contract.configured import EVENTS, Cut, cuts
from tests.contract.conftest import Stage
from tests.contract.recordings import DOORS, PATHS, Recording, everything, identifier
from tests.harness.config import API_KEY
from tests.upstream.scripts import answer, cut, ended_early

pytestmark = pytest.mark.promise("F8")

SPOKEN = 5  # events within which every dialect has said its first word
WORDS = "one two three four five"
HI: dict[str, object] = {"messages": [{"role": "user", "content": "count"}], "stream": True}
# What each dialect asks, and how a stream of its says that it is over.
ASKED: dict[str, tuple[str, Mapping[str, object], str]] = {
    "gemini": (
        "gemini.streamGenerateContent",
        {"contents": [{"parts": [{"text": "count"}]}]},
        "finishReason",
    ),
    "openai": ("openai.chat", HI, "[DONE]"),
    "anthropic": ("anthropic.messages", {**HI, "max_tokens": 100}, "message_stop"),
    "responses": ("openai.responses", {"input": "count", "stream": True}, "response.completed"),
    "completions": ("openai.completions", {"prompt": "count", "stream": True}, "[DONE]"),
}


def read(stage: Stage, case: Cut) -> tuple[int, str, bool]:
    """Return status and text of what came, and whether HTTP itself ended it."""
    api, body, _end = ASKED[case.caller]
    address = urlsplit(stage.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    named = {} if case.caller == "gemini" else {"model": case.name}
    try:
        connection.request(
            "POST",
            PATHS[api].format(model=case.name),
            json.dumps({**body, **named}),
            {"Authorization": f"Bearer {API_KEY}"},
        )
        reply = connection.getresponse()
        try:
            return reply.status, reply.read().decode(), True
        except http.client.IncompleteRead as error:
            return reply.status, error.partial.decode(), False
    finally:
        connection.close()


@pytest.mark.parametrize("case", cuts(), ids=lambda case: case.name)
def test_a_stream_that_is_cut_ends_in_an_error(stage: Stage, case: Cut) -> None:
    how = ended_early(case.after) if case.how == "end" else cut(case.how, at_event=case.after)
    stage.upstream.script(case.name, answer(WORDS) + how)
    status, text, clean = read(stage, case)
    end = ASKED[case.caller][2]
    if status != 200:  # nothing had been said before
        assert (status, case.after < SPOKEN) == (502, True), text
        assert json.loads(text)["error"]["message"]
        return
    assert "one" in text
    if case.how == "end" and case.upstream == "gemini" and case.after == EVENTS:
        # Google's has no last event: a clean end behind the reason for it is one.
        assert clean
        assert end in text
        return
    assert not clean
    assert end not in text
    assert '"error"' in text.splitlines()[-2]


def shortest() -> list[Recording]:
    """Return of each api the shortest recorded stream that comes to its end, and golden ones."""
    found = [row for row in everything(*DOORS) if row.streamed and not row.breaks]
    first: dict[tuple[str, bool], Recording] = {}
    for row in sorted(found, key=lambda row: len(row.response)):
        first.setdefault((row.api, row.golden), row)
    return [*first.values()]


@pytest.mark.parametrize("row", shortest(), ids=identifier)
def test_a_stream_in_pieces_of_one_byte_is_what_it_is_in_one(stage: Stage, row: Recording) -> None:
    same = test_gemini_same_dialect if row.sdk == "gemini" else test_same_dialect
    reply = same.ask(stage, row, piece=1)
    assert reply.status == 200, reply.body
    assert reply.body.decode() == same.streamed(row)
