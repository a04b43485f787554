"""pydantic-ai: an agent, its stream and an answer of a type, by its models for each dialect."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic_ai import (
    Agent,
    AgentRunResultEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.programs.town import KEY, QUESTION, URL, Visit, clock, tell_piece, weather


def openai(model: str) -> Any:
    provider = OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY)
    return OpenAIChatModel(model, provider=provider)


def responses(model: str) -> Any:
    provider = OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY)
    return OpenAIResponsesModel(model, provider=provider)


def anthropic(model: str) -> Any:
    return AnthropicModel(model, provider=AnthropicProvider(base_url=URL, api_key=KEY))


def google(model: str) -> Any:
    return GoogleModel(model, provider=GoogleProvider(base_url=URL, api_key=KEY))


def tools(make: Callable[[str], Any], model: str) -> Any:
    result = Agent(make(model), tools=[weather, clock]).run_sync(QUESTION)
    return seen(result)


def seen(result: Any) -> Any:
    return {
        "text": result.output,
        "usage": counted(result.usage),
        "finish": result.response.finish_reason,
    }


def streamed_tools(make: Callable[[str], Any], model: str) -> Any:
    async def streamed() -> Any:
        result: Any = None
        agent = Agent(make(model), tools=[weather, clock])
        async with agent.run_stream_events(QUESTION) as events:
            async for event in events:
                if isinstance(event, AgentRunResultEvent):
                    result = event.result
                else:
                    tell_piece(text_in(event))
        return seen(result)

    return asyncio.run(streamed())


def text_in(event: Any) -> str | None:
    """Return the text that an event brings: a part's beginning, or what is added to it."""
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return str(event.part.content)
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return str(event.delta.content_delta)
    return None


def stream(make: Callable[[str], Any], model: str) -> Any:
    async def streamed() -> Any:
        async with Agent(make(model)).run_stream(QUESTION) as result:
            async for piece in result.stream_text(delta=True, debounce_by=None):
                tell_piece(piece)
            return {
                "text": await result.get_output(),
                "usage": counted(result.usage),
                "finish": result.response.finish_reason,
            }

    return asyncio.run(streamed())


def counted(usage: Any) -> tuple[int, int]:
    return usage.input_tokens, usage.output_tokens


def typed(make: Callable[[str], Any], model: str) -> Any:
    return {"object": Agent(make(model), output_type=Visit).run_sync(QUESTION).output.model_dump()}


WAYS = {"openai": openai, "responses": responses, "anthropic": anthropic, "google": google}
CASES: dict[str, Callable[[str], Any]] = {
    **{f"{way} tools": partial(tools, make) for way, make in WAYS.items()},
    **{f"{way} streamed tools": partial(streamed_tools, make) for way, make in WAYS.items()},
    **{f"{way} stream": partial(stream, make) for way, make in WAYS.items()},
    **{f"{way} typed": partial(typed, make) for way, make in WAYS.items()},
}
