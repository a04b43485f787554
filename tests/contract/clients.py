"""Ask through the official SDKs as their users do, and lay what they return side by side.

Retries are off: one request of the test is one request of the gateway.
"""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import ExitStack
from typing import Any

from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState
from pydantic import BaseModel

from tests.harness.config import API_KEY

TIMEOUT_S = 30.0
Body = dict[str, Any]


class Clients:
    """The SDKs' clients, made once for each address and key, and closed at the end."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, str], Any] = {}
        self._closing = ExitStack()

    def openai(self, url: str, key: str = API_KEY) -> OpenAI:
        def make() -> OpenAI:
            return OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=TIMEOUT_S)

        client: OpenAI = self._client(("openai", url, key), make)
        return client

    def anthropic(self, url: str, key: str = API_KEY) -> Anthropic:
        def make() -> Anthropic:
            return Anthropic(base_url=url, api_key=key, max_retries=0, timeout=TIMEOUT_S)

        client: Anthropic = self._client(("anthropic", url, key), make)
        return client

    def of(self, kind: str, url: str, key: str = API_KEY) -> Any:
        return getattr(self, kind)(url, key)

    def close(self) -> None:
        self._closing.close()

    def _client(self, name: tuple[str, str, str], make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = self._closing.enter_context(make())
        return self._made[name]


def async_openai(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key=API_KEY, max_retries=0, timeout=TIMEOUT_S)


def async_anthropic(url: str) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=url, api_key=API_KEY, max_retries=0, timeout=TIMEOUT_S)


# --- one request; what an SDK has no argument for goes into `extra_body`, as its users have to


def ask(client: Any, api: str, body: Body) -> Any:
    """Return what the SDK returns: an object, a stream, or of an async client a promise of it."""
    return _ASK.get(api, _chat)(client, body)


def _chat(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "messages", "stream")
    return client.chat.completions.create(**named, extra_body=rest)


def _messages(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "messages", "max_tokens", "stream")
    return client.messages.create(**named, extra_body=rest)


def _responses(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "input", "stream")
    return client.responses.create(**named, extra_body=rest)


def _completions(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "prompt", "stream")
    return client.completions.create(**named, extra_body=rest)


def _moderations(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "input")
    return client.moderations.create(**named, extra_body=rest)


def _embeddings(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "input")
    return client.embeddings.create(**named, extra_body=rest)


def _count_tokens(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "messages")
    return client.messages.count_tokens(**named, extra_body=rest)


# All others are chats in OpenAI's words.
_ASK: dict[str, Callable[[Any, Body], Any]] = {
    "openai.responses": _responses,
    "openai.completions": _completions,
    "openai.moderations": _moderations,
    "openai.embeddings": _embeddings,
    "anthropic.messages": _messages,
    "anthropic.count_tokens": _count_tokens,
}


def _split(body: Body, *names: str) -> tuple[Body, Body]:
    named = {name: body[name] for name in names if name in body}
    return named, {name: value for name, value in body.items() if name not in named}


# --- what came of it


def plain(result: Any) -> Any:
    """Return an answer, or every event of a stream, without the name of the model."""
    if isinstance(result, BaseModel):
        return _anonymous(result)
    return [_anonymous(event) for event in result]


async def plain_async(promise: Awaitable[Any]) -> Any:
    result = await promise
    if isinstance(result, AsyncIterable):
        return [_anonymous(event) async for event in result]
    return _anonymous(result)


def _anonymous(value: Any) -> Body:
    found: Body = value.to_dict(mode="json", warnings=False)
    for holder in (found, found.get("message"), found.get("response")):
        if isinstance(holder, dict) and "model" in holder:
            holder["model"] = "the model"
    return found


def put_together(chunks: Iterable[Any]) -> Any:
    """Return the completion that OpenAI's SDK makes of a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(chunk)
    return state.current_completion_snapshot


def whole(client: Any, api: str, body: Body) -> Any:
    """Return the answer to a streamed request as one object, put together by the SDK."""
    return _WHOLE.get(api, _whole_chat)(client, body)


def _whole_chat(client: Any, body: Body) -> Any:
    return put_together(_chat(client, {**body, "stream": True}))


def _whole_message(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "messages", "max_tokens")
    rest.pop("stream", None)
    with client.messages.stream(**named, extra_body=rest) as stream:
        return stream.get_final_message()


def _whole_response(client: Any, body: Body) -> Any:
    named, rest = _split(body, "model", "input")
    with client.responses.stream(**named, extra_body={**rest, "stream": True}) as stream:
        *_, last = stream  # the helper itself knows no end but `response.completed`
        return last.response


_WHOLE: dict[str, Callable[[Any, Body], Any]] = {
    "anthropic.messages": _whole_message,
    "openai.responses": _whole_response,
}
