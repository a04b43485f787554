"""What the SDKs offer beyond one call works through the gateway: lists, betas, schemas, runners."""

import json

import pytest
from anthropic import beta_tool
from pydantic import BaseModel

from tests.contract.clients import Clients
from tests.contract.configured import PLAIN
from tests.contract.conftest import Stage
from tests.upstream.scripts import answer, calling


class Place(BaseModel):
    town: str


def test_models_are_listed_in_the_words_of_each_sdk(stage: Stage, clients: Clients) -> None:
    openai, anthropic = clients.openai(stage.url), clients.anthropic(stage.url)
    ours = {model.id for model in openai.models.list()}
    assert set(PLAIN.values()) <= ours
    assert {model.id for model in anthropic.models.list(limit=1000)} == ours
    assert openai.models.retrieve(PLAIN["anthropic"]).id == PLAIN["anthropic"]
    found = anthropic.models.retrieve(PLAIN["openai"])
    assert (found.id, found.type) == (PLAIN["openai"], "model")


def test_a_beta_is_asked_of_its_own_provider(stage: Stage, clients: Clients) -> None:
    clients.anthropic(stage.url).beta.messages.create(
        model=PLAIN["anthropic"],
        max_tokens=9,
        messages=[{"role": "user", "content": "hi"}],
        betas=["files-api-2025-04-14"],
    )
    assert stage.upstream.calls[-1].headers["anthropic-beta"] == "files-api-2025-04-14"


@pytest.mark.parametrize("name", PLAIN.values())
def test_a_schema_is_asked_for_and_its_answer_parsed(
    stage: Stage, clients: Clients, name: str
) -> None:
    stage.upstream.script(name, answer('{"town":"Rome"}'))
    completion = clients.openai(stage.url).chat.completions.parse(
        model=name, messages=[{"role": "user", "content": "where?"}], response_format=Place
    )
    assert completion.choices[0].message.parsed == Place(town="Rome")
    asked = json.dumps(stage.upstream.calls[-1].body)
    words = '"responseJsonSchema"' if name == PLAIN["gemini"] else '"type": "json_schema"'
    assert words in asked
    assert '"required": ["town"]' in asked


@pytest.mark.parametrize("name", PLAIN.values())
def test_a_runner_of_tools_comes_to_its_end(stage: Stage, clients: Clients, name: str) -> None:
    """Across dialects the SDK learns that no server holds its thread, and sends it all."""
    called: list[str] = []

    @beta_tool
    def weather(town: str) -> str:
        """Say how the weather is in a town."""
        called.append(town)
        return f"warm in {town}"

    towns = ("Rome", "Oslo")
    calls = [("weather", json.dumps({"town": town})) for town in towns]
    stage.upstream.script(name, calling(*calls, text=2), answer("Warm everywhere."))
    runner = clients.anthropic(stage.url).beta.messages.tool_runner(
        model=name,
        max_tokens=100,
        tools=[weather],
        messages=[{"role": "user", "content": "weather?"}],
    )
    (block,) = runner.until_done().content
    assert (block.type, getattr(block, "text", "")) == ("text", "Warm everywhere.")
    assert sorted(called) == sorted(towns)
    last = json.dumps(stage.upstream.calls[-1].body)
    assert all(f"warm in {town}" in last for town in towns)


def test_a_stream_helper_tells_text_tools_and_usage(stage: Stage, clients: Clients) -> None:
    stage.upstream.script(PLAIN["anthropic"], answer("one two three"))
    with clients.openai(stage.url).chat.completions.stream(
        model=PLAIN["anthropic"],
        messages=[{"role": "user", "content": "count"}],
        stream_options={"include_usage": True},
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == "one two three"
    assert final.usage is not None
    assert final.usage.completion_tokens == 3


def test_headers_of_an_answer_are_there(stage: Stage, clients: Clients) -> None:
    raw = clients.openai(stage.url).chat.completions.with_raw_response.create(
        model=PLAIN["anthropic"], messages=[{"role": "user", "content": "hi"}]
    )
    assert raw.headers["x-mobius-model"] == PLAIN["anthropic"]
    assert raw.headers["x-mobius-provider"] == f"p-{PLAIN['anthropic']}"
    assert raw.headers["x-mobius-attempts"] == "1"
    assert float(raw.headers["x-mobius-cost-usd"]) > 0
    assert raw.parse()._request_id == raw.headers["x-request-id"]
