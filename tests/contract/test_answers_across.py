"""An answer reaches callers of the other dialect with all it says, streamed and whole alike."""

import pytest

from tests.contract.clients import Body, Clients, ask, whole
from tests.contract.conftest import Stage
from tests.contract.recordings import (
    API,
    CHATS,
    OTHER,
    UNREADABLE,
    Recording,
    everything,
    identifier,
)
from tests.contract.told import across, told

ROWS = [row for row in everything(*CHATS) if row.status < 400 and not row.id.endswith(UNREADABLE)]
ASKED: dict[str, Body] = {
    "openai": {"messages": [{"role": "user", "content": "hi"}]},
    "anthropic": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 100},
}


@pytest.mark.parametrize("row", ROWS, ids=identifier)
def test_an_answer_says_the_same_across(stage: Stage, clients: Clients, row: Recording) -> None:
    stage.play(row)
    address, name = stage.provider(row)
    direct = clients.of(row.kind, address)
    get = whole if row.streamed else ask
    said = told(row.kind, get(direct, row.api, {**row.request, "model": name}))
    expected = across(row.kind, said)

    caller = OTHER[row.kind]
    client, api = clients.of(caller, stage.url), API[caller]
    body = {**ASKED[caller], "model": row.id}
    at_once = told(caller, ask(client, api, body))
    if caller == "openai":
        body["stream_options"] = {"include_usage": True}
    streamed = told(caller, whole(client, api, body))
    if said["usage"] is None:  # then nobody knows
        for one in (at_once, streamed, expected):
            del one["usage"]
    assert at_once == expected
    assert streamed == expected
