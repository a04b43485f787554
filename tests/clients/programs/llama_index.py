"""LlamaIndex: an agent of functions, a stream and embeddings by its packages for each dialect."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.google_genai import GoogleGenAI
from llama_index.llms.openai_like import OpenAILike
from llama_index.llms.openai_like.responses import OpenAILikeResponses

from tests.clients.programs.town import KEY, QUESTION, URL, clock, tell_piece, weather

CAPABLE = {"is_chat_model": True, "is_function_calling_model": True}


def openai(model: str) -> Any:
    return OpenAILike(model=model, api_base=f"{URL}/v1", api_key=KEY, **CAPABLE)


def responses(model: str) -> Any:
    return OpenAILikeResponses(model=model, api_base=f"{URL}/v1", api_key=KEY, **CAPABLE)


def anthropic(model: str) -> Any:
    return Anthropic(model=model, base_url=URL, api_key=KEY)


def google(model: str) -> Any:
    """Asks the gateway what the model can take, as it asks Google."""
    return GoogleGenAI(model=model, api_key=KEY, http_options={"base_url": URL})


def tools(make: Callable[[str], Any], model: str) -> Any:
    async def asked() -> Any:
        agent = FunctionAgent(tools=[weather, clock], llm=make(model))
        return await agent.run(QUESTION)

    return {"text": str(asyncio.run(asked()))}


def stream(make: Callable[[str], Any], model: str) -> Any:
    said: Any = None
    for said in make(model).stream_complete(QUESTION):
        tell_piece(said.delta)
    return {"text": said.text}


def embed(model: str) -> Any:
    embedding = OpenAIEmbedding(model_name=model, api_base=f"{URL}/v1", api_key=KEY)
    return {"vectors": embedding.get_text_embedding_batch(["one", "two and three"])}


WAYS = {"openai": openai, "responses": responses, "anthropic": anthropic, "google": google}
CASES: dict[str, Callable[[str], Any]] = {
    **{f"{way} tools": partial(tools, make) for way, make in WAYS.items()},
    **{f"{way} stream": partial(stream, make) for way, make in WAYS.items()},
    "openai embed": embed,
}
