"""A request for a provider of the other dialect arrives whole, or is refused by a field's name."""

import json
from typing import Any

import pytest

from tests.contract import asked_anthropic, asked_openai
from tests.contract.configured import MAX_OUTPUT, PLAIN
from tests.contract.conftest import Stage
from tests.contract.recordings import (
    CHATS,
    DOORS,
    OTHER,
    PATHS,
    Recording,
    everything,
    identifier,
    send,
)

ROWS = everything(*CHATS)
# Those whose words are looked at one by one in `tests/unit/adapters/test_every_field.py`.
OTHERS = everything(
    *(api for api in DOORS if api not in CHATS and api.endswith(("chat", "enerateContent"))),
    "openai.responses",
)
DIALECT = {"openai": "openai.chat", "anthropic": "anthropic.messages", "gemini": "gemini.content"}
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


@pytest.mark.parametrize("row", OTHERS, ids=identifier)
def test_a_request_of_any_dialect_is_sent_on_or_refused_by_name(
    stage: Stage, row: Recording
) -> None:
    for kind in set(DIALECT) - {row.sdk}:
        before = len(stage.upstream.calls)
        body = row.request if row.sdk == "gemini" else {**row.request, "model": PLAIN[kind]}
        reply = send(stage.url, PATHS[row.api].format(model=PLAIN[kind]), body)
        calls = stage.upstream.calls[before:]
        if reply.status == 200:
            (call,) = calls
            assert call.dialect == DIALECT[kind]
            continue
        assert reply.status == 400, reply.body
        assert not calls
        assert refused(json.loads(reply.body)["error"]).partition(".")[0].partition("[")[0] in body


def refused(error: dict[str, Any]) -> str:
    """Return the field that an error names, in each dialect."""
    for detail in error.get("details") or ():
        for violation in detail.get("fieldViolations") or ():
            return str(violation["field"])
    return str(error["param"])
