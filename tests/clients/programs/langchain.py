"""LangChain: an agent, a stream and embeddings by the packages for OpenAI, Anthropic and Google."""

from collections.abc import Callable
from functools import partial
from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from tests.clients.programs.town import KEY, QUESTION, URL, clock, tell_piece, weather

SECRET = SecretStr(KEY)
TOOLS = [weather, clock]
ASKED: Any = {"messages": [{"role": "user", "content": QUESTION}]}


def openai(model: str) -> BaseChatModel:
    return ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key=SECRET, stream_usage=True)


def responses(model: str) -> BaseChatModel:
    return ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key=SECRET, use_responses_api=True)


def anthropic(model: str) -> BaseChatModel:
    return ChatAnthropic(model_name=model, base_url=URL, api_key=SECRET, timeout=None, stop=None)


def google(model: str) -> BaseChatModel:
    return ChatGoogleGenerativeAI(model=model, base_url=URL, api_key=SECRET)


def tools(make: Callable[[str], BaseChatModel], model: str) -> Any:
    return seen(create_agent(make(model), tools=TOOLS).invoke(ASKED))


def streamed_tools(make: Callable[[str], BaseChatModel], model: str) -> Any:
    agent, state = create_agent(make(model), tools=TOOLS), {}
    for kind, told in agent.stream(ASKED, stream_mode=["messages", "values"]):
        if kind == "values":
            state = told
        elif told[0].type == "AIMessageChunk":
            tell_piece(told[0].text)
    return seen(state)


def seen(state: Any) -> Any:
    said = [message for message in state["messages"] if message.type == "ai"]
    return {"text": said[-1].text, "usage": counted(*said), "finish": finish(said[-1])}


def stream(make: Callable[[str], BaseChatModel], model: str) -> Any:
    said: Any = None
    for chunk in make(model).stream(QUESTION):
        tell_piece(chunk.text)
        said = chunk if said is None else said + chunk
    return {"text": said.text, "usage": counted(said), "finish": finish(said)}


def counted(*said: Any) -> tuple[int, int]:
    told = [message.usage_metadata for message in said]
    return sum(one["input_tokens"] for one in told), sum(one["output_tokens"] for one in told)


def finish(said: Any) -> Any:
    told = said.response_metadata
    return told.get("finish_reason") or told.get("stop_reason") or told.get("status")


def embed(embeddings: Callable[[str], Embeddings], model: str) -> Any:
    return {"vectors": embeddings(model).embed_documents(["one", "two and three"])}


def openai_embeddings(model: str) -> Embeddings:
    return OpenAIEmbeddings(model=model, base_url=f"{URL}/v1", api_key=SECRET)


def openai_texts(model: str) -> Embeddings:
    """Ask with texts, not with OpenAI's tokens: only OpenAI's models can read those."""
    return OpenAIEmbeddings(
        model=model, base_url=f"{URL}/v1", api_key=SECRET, check_embedding_ctx_length=False
    )


def google_embeddings(model: str) -> Embeddings:
    return GoogleGenerativeAIEmbeddings(model=model, base_url=URL, api_key=SECRET)


WAYS = {"openai": openai, "responses": responses, "anthropic": anthropic, "google": google}
CASES: dict[str, Callable[[str], Any]] = {
    **{f"{way} tools": partial(tools, make) for way, make in WAYS.items()},
    **{f"{way} streamed tools": partial(streamed_tools, make) for way, make in WAYS.items()},
    **{f"{way} stream": partial(stream, make) for way, make in WAYS.items()},
    "openai embed": partial(embed, openai_embeddings),
    "openai texts": partial(embed, openai_texts),
    "google embed": partial(embed, google_embeddings),
}
