"""A request for a provider of the other dialect arrives whole, or is refused by a field's name."""

import json
from typing import Any

import pytest

from tests.contract import asked_anthropic, asked_openai
from tests.contract.configured import MAX_OUTPUT, PLAIN
from tests.contract.conftest import Stage
from tests.contract.recordings import CHATS, OTHER, PATHS, Recording, everything, identifier, send

ROWS = everything(*CHATS)
HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("row", ROWS, ids=identifier)
def test_a_request_crosses_whole_or_is_refused_by_name(stage: Stage, row: Recording) -> None:
    body = {**row.request, "model": PLAIN[OTHER[row.kind]]}
    refused = wordless(row.kind, body)
    if refused:
        reply = send(stage.url, PATHS[row.api], body)
        assert reply.status == 400, reply.body
        param = json.loads(reply.body)["error"]["param"]
        assert param.partition(".")[0].partition("[")[0] in refused
        assert not stage.upstream.calls
        body = {name: value for name, value in body.items() if name not in refused}
        body.setdefault("messages", HI)
    reply = send(stage.url, PATHS[row.api], body)
    assert reply.status == 200, reply.body
    (call,) = stage.upstream.calls
    assert call.dialect == f"{OTHER[row.kind]}.{'messages' if row.kind == 'openai' else 'chat'}"
    assert call.body["stream"] is True  # first-token and idle limits hold for every caller
    assert as_sent(OTHER[row.kind], call.body) == as_wanted(row.kind, body)


def wordless(kind: str, body: dict[str, Any]) -> set[str]:
    if kind == "openai":
        return asked_openai.wordless(body, most=MAX_OUTPUT)
    return asked_anthropic.wordless(body)


def as_wanted(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    if kind == "openai":
        return asked_openai.as_anthropic(asked_openai.asked(body, most=MAX_OUTPUT))
    return asked_anthropic.as_openai(asked_anthropic.asked(body))


def as_sent(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    if kind == "openai":
        return asked_openai.asked(body, most=MAX_OUTPUT)
    sent = asked_anthropic.asked(body)
    assert sent.pop("effort") is None  # it is said as a budget
    return sent
