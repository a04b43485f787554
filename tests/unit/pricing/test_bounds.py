"""What an attempt may cost at most counts sound and searches, which are no text."""

from typing import Any

from llm_gateway.service.bounds import TOKENS_PER_SECOND, TOOL_CALLS, bound
from llm_gateway.types import Call, Outgoing, Price

PRICE = Price(id=1, input=10**6, output=0, audio_input=2 * 10**6, audio_second=7, tool_call=1000)
FIVE_SECONDS = 5000


def asked(*tools: dict[str, object], **fields: Any) -> Call:
    return Call(
        dialect="d", operation="chat", model="m", body={"tools": list(tools)}, size=10, **fields
    )


def most(call: Call, size: int = 0) -> int:
    return bound(call, Outgoing(path="", body=b"x" * size), PRICE, output=0).amount_nano


def test_sound_is_bounded_by_its_seconds_in_tokens_and_in_fees() -> None:
    heard = asked(audio=1, media_bytes=FIVE_SECONDS)
    assert most(heard, FIVE_SECONDS) == 5 * TOKENS_PER_SECOND * 2 + 5 * 7


def test_searches_are_bounded_by_what_the_caller_allows() -> None:
    search: dict[str, object] = {"type": "web_search_20250305", "name": "web_search"}
    assert most(asked(search | {"max_uses": 3})) == 3 * 1000
    assert most(asked(search)) == TOOL_CALLS * 1000
    assert most(asked({"type": "function", "name": "web_search"})) == 0
