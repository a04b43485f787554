"""A request is named by what it asks: the same question the same, and no text can be read of it."""

from typing import Any

import pytest

from llm_gateway.service.repeats import Repeats, repeats
from llm_gateway.types import Call

pytestmark = pytest.mark.django_db  # the key of the digests is the installation's

SYSTEM = {"role": "system", "content": "Be brief. " * 300}
USER = {"role": "user", "content": "hi"}


def named(*messages: Any, model: str = "m", tokens: int = 1000, **fields: Any) -> Repeats:
    body = {"model": model, "messages": list(messages), **fields}
    call = Call(dialect="openai_chat", operation="chat", model=model, body=body, size=1)
    return repeats(call, tokens)


def test_the_same_request_has_the_same_digest_in_any_order_of_fields() -> None:
    one = named(SYSTEM, USER, temperature=0.5, seed=1)
    assert one == named(SYSTEM, USER, seed=1, temperature=0.5)
    assert len(one.digest) == len(one.prefix_digest) == 32


@pytest.mark.parametrize(
    "other",
    [{"seed": 2}, {"model": "other"}, {"stream": True}, {"stop": []}, {"system": "x"}],
    ids=str,
)
def test_another_request_has_another_digest(other: dict[str, Any]) -> None:
    assert named(SYSTEM, USER, **other).digest != named(SYSTEM, USER).digest


def test_what_stands_first_is_told_from_what_stands_last() -> None:
    assert named(USER, SYSTEM).digest != named(SYSTEM, USER).digest


def test_requests_that_begin_alike_share_their_beginning() -> None:
    one, other = named(SYSTEM, USER), named(SYSTEM, {**USER, "content": "something else"})
    assert one.digest != other.digest
    assert one.prefix_digest == other.prefix_digest != ""
    assert 900 < one.prefix_tokens < 1000
    assert named({**SYSTEM, "role": "developer"}, USER).prefix_digest != one.prefix_digest


@pytest.mark.parametrize(
    "fields", [{"tools": [{"name": "x" * 2000}]}, {"system": "x" * 2000}], ids=["tools", "system"]
)
def test_instructions_and_tools_outside_the_messages_stand_first_too(fields: Any) -> None:
    assert named(USER, **fields).prefix_tokens > 900


def test_a_short_beginning_is_none() -> None:
    assert named({"role": "system", "content": "Be brief."}, USER).prefix_digest == ""
    assert named(USER, {"role": "user", "content": "x" * 5000}).prefix_tokens == 0


def test_bodies_without_messages_have_a_digest() -> None:
    call = Call(dialect="d", operation="embeddings", model="m", body={"input": ["a"]}, size=1)
    assert len(repeats(call, 5).digest) == 32
    odd = Call(dialect="d", operation="chat", model="m", body={"messages": ["text"]}, size=1)
    assert repeats(odd, 5).prefix_digest == ""
