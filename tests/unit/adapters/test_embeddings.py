"""Inputs beyond a provider's batch are cut and joined, and nothing is lost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.adapters import openai_embeddings
from llm_gateway.adapters.counting import shares
from llm_gateway.adapters.mock import MockOptions, reply
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import Call, Quirks, Usage
from tests.unit.adapters.golden import Bound

inputs = st.lists(st.text(max_size=3), min_size=1, max_size=9) | st.lists(
    st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=9
)


@given(given_input=inputs, batch=st.integers(1, 10), most=st.integers(1, 20))
def test_batches_joined_are_what_one_call_would_have_been(
    given_input: list[Any], batch: int, most: int
) -> None:
    call = asked(given_input)
    quirks = Quirks(embeddings_batch=batch, embeddings_batch_bytes=most)
    parts = openai_embeddings.split(call, quirks)
    assert [item for part in parts for item in part.body["input"]] == given_input
    assert all(part.items <= batch for part in parts)
    assert all(part.items == 1 or weight(part.body["input"]) <= most for part in parts)
    answers, usages = [], []
    for part in parts:
        answer, facts = openai_embeddings.relay_answer(answered(part), model="public")
        assert facts.usage is not None
        answers.append(answer)
        usages.append(facts.usage.input)
    joined = json.loads(openai_embeddings.join(answers, Usage(input=sum(usages))))
    assert joined == {**json.loads(answered(call)), "model": "public"}


@given(texts=st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=4), min_size=1))
def test_calls_merged_and_cut_get_what_each_alone_would_have_got(texts: list[list[str]]) -> None:
    calls = [asked(one) for one in texts]
    merged = openai_embeddings.merge(calls)
    assert merged.items == sum(call.items for call in calls)
    whole, facts = openai_embeddings.relay_answer(answered(merged), model="public")
    assert facts.usage is not None
    parts = openai_embeddings.cut(whole, calls, facts.usage)
    assert sum(used.input for _, used in parts if used) == facts.usage.input
    for call, (body, used) in zip(calls, parts, strict=True):
        told, alone = json.loads(body), json.loads(answered(call))
        assert used is not None
        assert told["data"] == alone["data"]
        assert told["usage"] == {"prompt_tokens": used.input, "total_tokens": used.input}
        assert told["model"] == "public"


def test_an_answer_with_another_number_of_vectors_is_no_answer() -> None:
    calls = [asked(["one"]), asked(["two", "three"])]
    for wrong in (["one", "two"], ["one", "two", "three", "four"]):
        with pytest.raises(InvalidAnswerError):
            openai_embeddings.cut(answered(asked(wrong)), calls, Usage(input=3))


def test_vectors_that_come_in_another_order_go_to_their_own_inputs() -> None:
    body = json.dumps({"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}]})
    first, second = openai_embeddings.cut(body.encode(), [asked(["a"]), asked(["b"])], None)
    assert json.loads(first[0])["data"] == [{"index": 0, "embedding": [1]}]
    assert json.loads(second[0])["data"] == [{"index": 0, "embedding": [2]}]


@given(total=st.integers(0, 10**9), weights=st.lists(st.integers(0, 10**6), min_size=1))
def test_shares_sum_to_the_whole_and_none_is_a_token_off(total: int, weights: list[int]) -> None:
    split = shares(total, weights)
    assert sum(split) == total
    whole = sum(weights)
    if whole:
        for share, weight_of_it in zip(split, weights, strict=True):
            assert abs(share - total * weight_of_it / whole) < 1 + 1e-6


def asked(given_input: list[Any]) -> Call:
    body = {"model": "m", "input": given_input, "dimensions": 2}
    return openai_embeddings.parse_call(body, size=1)


def answered(call: Call) -> bytes:
    sent = openai_embeddings.render_relay(call, Bound(), Quirks())
    ((_, raw),) = reply(sent.path, json.loads(sent.body), MockOptions(), roll=1, now=0).pieces
    return raw


def weight(items: list[Any]) -> int:
    return sum(len(item.encode()) if isinstance(item, str) else len(item) for item in items)


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
