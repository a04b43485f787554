"""OpenAI's Agents SDK: an agent and its stream, by responses as it does and by chat."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI

from tests.clients.programs.town import KEY, QUESTION, URL, clock, tell_piece, weather

TOOLS = [function_tool(weather), function_tool(clock)]


def openai(model: str) -> Any:
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY)
    return OpenAIChatCompletionsModel(model=model, openai_client=client)


def responses(model: str) -> Any:
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY)
    return OpenAIResponsesModel(model=model, openai_client=client)


def agent(make: Callable[[str], Any], model: str) -> Any:
    settings = ModelSettings(include_usage=True)  # by chat, it asks nobody but OpenAI otherwise
    return Agent(
        name="Guide",
        instructions="Be brief.",
        model=make(model),
        model_settings=settings,
        tools=TOOLS,
    )


def tools(make: Callable[[str], Any], model: str) -> Any:
    result = Runner.run_sync(agent(make, model), QUESTION)
    return {"text": result.final_output, "usage": counted(result)}


def stream(make: Callable[[str], Any], model: str) -> Any:
    async def streamed() -> Any:
        result = Runner.run_streamed(agent(make, model), QUESTION)
        async for event in result.stream_events():
            data: Any = getattr(event, "data", None)  # a raw event of the model
            if getattr(data, "type", "") == "response.output_text.delta":
                tell_piece(data.delta)
        return {"text": result.final_output, "usage": counted(result)}

    return asyncio.run(streamed())


def counted(result: Any) -> tuple[int, int]:
    usage = result.context_wrapper.usage
    return usage.input_tokens, usage.output_tokens


WAYS = {"openai": openai, "responses": responses}
CASES: dict[str, Callable[[str], Any]] = {
    **{f"{way} tools": partial(tools, make) for way, make in WAYS.items()},
    **{f"{way} streamed tools": partial(stream, make) for way, make in WAYS.items()},
    **{f"{way} stream": partial(stream, make) for way, make in WAYS.items()},
}
