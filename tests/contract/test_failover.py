"""A first target that is down costs the caller nothing: the second answers, both are on record."""

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.clients import Body, Clients, ask, whole
from tests.contract.configured import PLAIN, Descent, descents
from tests.contract.conftest import Stage
from tests.contract.recordings import API, PATHS, send
from tests.contract.told import told
from tests.harness.config import API_KEY
from tests.upstream.scripts import Script, answer, failing, stalled

# A failover costs 1 of the retry budget and a first attempt pays in 0.15 (faults.md §4).
EARNING = 7
LOGGED_WITHIN_S = 10.0
# Of each fault: what the first target does, the status it says, and what the log calls it.
FAULTS: dict[str, tuple[Script | None, int | None, str]] = {
    "429": (failing(429, retry_after="60"), 429, "rate_limit"),
    "500": (failing(500), 500, "server"),
    "529": (failing(529), 529, "server"),
    "refused": (None, None, "network"),
    "timeout": (stalled(), None, "timeout"),
}
HI: Body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}


@pytest.mark.parametrize("case", descents(), ids=lambda case: case.name)
def test_the_second_target_answers(stage: Stage, clients: Clients, case: Descent) -> None:
    for _ in range(EARNING):
        assert send(stage.url, PATHS["openai.chat"], {**HI, "model": PLAIN["openai"]}).status == 200
    script, status, category = FAULTS[case.fault]
    if script is not None:
        stage.upstream.script(case.broken, script)
    stage.upstream.script(PLAIN[case.second], answer("here I am"))

    client = clients.of(case.caller, stage.url)
    get = whole if case.shape == "streamed" else ask
    got = told(case.caller, get(client, API[case.caller], {**HI, "model": case.name}))
    assert (got["text"], got["calls"]) == ("here I am", [])
    assert [name for name in stage.upstream.order[EARNING:] if name != case.broken] == [
        PLAIN[case.second]
    ]

    row = logged(stage, case.name)
    assert (row["status"], row["model"], row["outcome"]) == (200, PLAIN[case.second], "ok")
    first, second = row["attempts"]
    assert (first["model"], first["status"], first["category"]) == (case.broken, status, category)
    assert (second["model"], second["status"], second["category"]) == (PLAIN[case.second], 200, "")


def logged(stage: Stage, route: str) -> Any:
    """Return the decision record of the last request for this route; it is written soon after."""
    until = time.monotonic() + LOGGED_WITHIN_S
    while time.monotonic() < until:
        found = get(stage, f"/api/v1/requests?model={route}")["data"]
        if found:
            return get(stage, f"/api/v1/requests/{found[0]['id']}")
    raise AssertionError(f"no request for {route} was logged")


def get(stage: Stage, path: str) -> Any:
    address = urlsplit(stage.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {API_KEY}"})
        reply = connection.getresponse()
        body = json.loads(reply.read())
    finally:
        connection.close()
    assert reply.status == 200, body
    return body
