"""Name every case: which client asks in which dialect for whose model, and what it tells of it."""

from itertools import product
from typing import NamedTuple

from tests.clients.conftest import CLAUDE, CLAUDES, GEMINI, GEMINI_EMBEDDINGS, GPT, GPT_EMBEDDINGS

WAYS = ("openai", "responses", "anthropic", "google")
_OPENAI = ("openai", "responses")
# What a client calls the end of an answer, and which of them tell of tokens.
_FINISHES = {
    "langchain": dict(zip(WAYS, ("stop", "completed", "end_turn", "STOP"), strict=True)),
    "pydantic_ai": dict.fromkeys(WAYS, "stop"),
    "vercel": dict.fromkeys(WAYS, "stop"),
}
_COUNTING = {"langchain", "pydantic_ai", "openai_agents", "llm", "vercel"}
# They send calls or results back by name and order alone, as Gemini's protocol allows.
_WITHOUT_IDS = {("langchain", "google"), ("instructor", "google")}


class Case(NamedTuple):
    """`way` is the dialect the client speaks, and how where there are several."""

    client: str
    way: str
    model: str

    @property
    def called(self) -> str:
        """The name under which this client may ask for the model."""
        narrow = self[:2] == ("llama_index", "anthropic")
        return CLAUDES.get(self.model, self.model) if narrow else self.model

    @property
    def finish(self) -> str | None:
        return _FINISHES.get(self.client, {}).get(self.way.partition(" ")[0])

    @property
    def counts(self) -> bool:
        return self.client in _COUNTING

    @property
    def sends_ids(self) -> bool:
        return self[:2] not in _WITHOUT_IDS


def _everywhere(client: str, *ways: str) -> list[Case]:
    """Return the cases before a provider of the same dialect and before those of others."""
    return [Case(client, *pair) for pair in product(ways, (GPT, CLAUDE, GEMINI))]


STREAMS = [
    *_everywhere("langchain", *WAYS),
    *_everywhere("llama_index", *WAYS),
    *_everywhere("pydantic_ai", *WAYS),
    *_everywhere("openai_agents", *_OPENAI),
    *_everywhere("llm", *_OPENAI),
    *_everywhere("vercel", *WAYS),
]
# Vercel's SDK refers to what OpenAI keeps, unless it is told to send all of it again.
LOOPS = [case for case in STREAMS if case[:2] != ("vercel", "responses") or case.model == GPT]
LOOPS += _everywhere("vercel", "responses sent whole")
# LlamaIndex's agent and `llm` stream in any case.
ALWAYS_STREAMED = {"llama_index": "tools", "llm": "streamed tools"}

# That a tool is called but once, as these ask in Anthropic's dialect, Gemini has no word for.
REFUSED = [Case("instructor", "anthropic", GEMINI), Case("vercel", "anthropic", GEMINI)]
_TYPED = [*_everywhere("instructor", *WAYS), *_everywhere("pydantic_ai", *WAYS)]
TYPED = [case for case in _TYPED if case not in REFUSED]
BY_SCHEMA = [case for case in _everywhere("vercel", *WAYS) if case not in REFUSED]
GROWING = [case for case in TYPED if case.client == "instructor"]

EMBEDDINGS = [
    Case("langchain", "openai embed", GPT_EMBEDDINGS),
    Case("langchain", "openai texts", GEMINI_EMBEDDINGS),
    Case("langchain", "google embed", GEMINI_EMBEDDINGS),
    Case("llama_index", "openai embed", GPT_EMBEDDINGS),
    Case("llama_index", "openai embed", GEMINI_EMBEDDINGS),
    Case("vercel", "openai embed", GPT_EMBEDDINGS),
    Case("vercel", "openai embed", GEMINI_EMBEDDINGS),
]
