"""The mock answers as a server of the OpenAI dialect, the same each time."""

import json
from typing import Any

import openai.types
import openai.types.chat

from llm_gateway.adapters.mock import MockOptions, MockReply, reply
from llm_gateway.adapters.sse import Framer, frame_data

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "good day"}]}],
}
PATH = "/v1/chat/completions"


def ask(body: dict[str, Any], path: str = PATH, **options: Any) -> MockReply:
    return reply(path, body, MockOptions(**options), roll=0.5, now=1.5)


def said(answer: MockReply) -> Any:
    ((_, body),) = answer.pieces
    return json.loads(body)


def test_it_says_what_it_is_and_what_it_heard() -> None:
    answer = said(ask(CHAT))
    completion = openai.types.chat.ChatCompletion.model_validate(answer)
    content = completion.choices[0].message.content or ""
    assert "mock" in content
    assert content.endswith("good day")
    assert answer["usage"]["prompt_tokens"] == 2
    assert answer["usage"]["completion_tokens"] == len(content.split())
    assert ask(CHAT) == ask(CHAT)


def test_a_message_that_is_no_object_is_refused() -> None:
    answer = ask({**CHAT, "messages": ["hi"]})
    assert answer.status == 400
    assert "messages" in said(answer)["error"]["message"]


def test_answers_are_fixed_for_all_or_for_one_model() -> None:
    options: dict[str, Any] = {"answer": "all", "answers": {"m": "one"}}
    assert said(ask(CHAT, **options))["choices"][0]["message"]["content"] == "one"
    other = said(ask({**CHAT, "model": "n"}, **options))
    assert other["choices"][0]["message"]["content"] == "all"


def test_a_stream_comes_word_by_word_with_its_pauses() -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    answer = ask(body, answer="one two  three", delay_s=0.5, word_delay_s=0.1)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [wait for wait, _ in answer.pieces] == [0.5] + [0.1] * (len(answer.pieces) - 1)
    *chunks, done = map(frame_data, Framer().feed(b"".join(piece for _, piece in answer.pieces)))
    assert done == b"[DONE]"
    parsed = [openai.types.chat.ChatCompletionChunk.model_validate_json(data) for data in chunks]
    words = [chunk.choices[0].delta.content for chunk in parsed if chunk.choices]
    assert [word for word in words if word] == ["one", " two", " ", " three"]
    assert parsed[-1].usage is not None
    assert parsed[-1].usage.completion_tokens == 4


def test_a_limit_ends_the_answer() -> None:
    choice = said(ask({**CHAT, "max_tokens": 2}, answer="one two three"))["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "length")


def test_a_tool_that_must_be_called_is_called() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    named = {"type": "function", "function": {"name": "g"}}
    for choice, name in (("required", "f"), (named, "g")):
        body = {**CHAT, "tools": tools, "tool_choice": choice}
        answer = said(ask(body))["choices"][0]
        function = answer["message"]["tool_calls"][0]["function"]
        assert function == {"name": name, "arguments": "{}"}
        assert answer["finish_reason"] == "tool_calls"
        stream = b"".join(piece for _, piece in ask({**body, "stream": True}).pieces)
        assert f'"name":"{name}"'.encode() in stream
    assert "tool_calls" not in said(ask({**CHAT, "tools": tools}))["choices"][0]["message"]


def test_embeddings_depend_on_the_text_alone() -> None:
    body = {"model": "m", "input": ["one", "two words", "one"], "dimensions": 8}
    answer = said(ask(body, "/v1/embeddings"))
    openai.types.CreateEmbeddingResponse.model_validate(answer)
    first, second, third = (item["embedding"] for item in answer["data"])
    assert first == third != second
    assert len(first) == 8
    assert abs(sum(number**2 for number in first) - 1) < 1e-9
    assert answer["usage"]["prompt_tokens"] == 4
    packed = said(ask({**body, "input": [1, 2], "encoding_format": "base64"}, "/v1/embeddings"))
    assert isinstance(packed["data"][0]["embedding"], str)
    assert packed["usage"]["prompt_tokens"] == 2


def test_errors_models_and_unknown_paths() -> None:
    assert reply(PATH, CHAT, MockOptions(error_rate=0.5), roll=0.49, now=0).status == 500
    assert reply(PATH, CHAT, MockOptions(error_rate=0.5), roll=0.5, now=0).status == 200
    assert said(ask({}, "/v1/models", answers={"a": "x"}))["data"][0]["id"] == "a"
    assert ask({}, "/v1/nothing").status == 404
