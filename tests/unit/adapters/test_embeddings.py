"""Inputs beyond a provider's batch are cut and joined, and nothing is lost."""

import json

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.adapters import openai_embeddings
from llm_gateway.adapters.mock import MockOptions, reply
from llm_gateway.types import Quirks, Usage
from tests.unit.adapters.golden import Bound

inputs = st.lists(st.text(max_size=3), min_size=1, max_size=9) | st.lists(
    st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=9
)


@given(given_input=inputs, batch=st.integers(1, 10))
def test_batches_joined_are_what_one_call_would_have_been(
    given_input: list[object], batch: int
) -> None:
    body = {"model": "m", "input": given_input, "dimensions": 2}
    call = openai_embeddings.parse_call(body, size=1)
    parts = openai_embeddings.split(call, Quirks(embeddings_batch=batch))
    assert [item for part in parts for item in part.body["input"]] == given_input
    assert all(part.items <= batch for part in parts)
    answers, usages = [], []
    for part in parts:
        sent = openai_embeddings.render_relay(part, Bound(), Quirks())
        ((_, raw),) = reply(sent.path, json.loads(sent.body), MockOptions(), roll=1, now=0).pieces
        answer, facts = openai_embeddings.relay_answer(raw, model="public")
        assert facts.usage is not None
        answers.append(answer)
        usages.append(facts.usage.input)
    joined = json.loads(openai_embeddings.join(answers, Usage(input=sum(usages))))
    ((_, raw),) = reply("/embeddings", body, MockOptions(), roll=1, now=0).pieces
    assert joined == {**json.loads(raw), "model": "public"}


def test_one_text_and_one_list_of_tokens_are_one_input() -> None:
    for given_input in ("hi", [1, 2, 3]):
        call = openai_embeddings.parse_call({"model": "m", "input": given_input}, size=1)
        assert call.items == 1
        assert openai_embeddings.split(call, Quirks(embeddings_batch=1)) == [call]


def test_a_usage_that_is_no_count_is_kept_as_text() -> None:
    body = b'{"data":[{}],"model":"m","usage":{"prompt_tokens":-1}}'
    _, facts = openai_embeddings.relay_answer(body, model="m")
    assert facts.usage is None
    assert facts.usage_invalid == '{"prompt_tokens":-1}'
