"""Say how models count: the vocabulary where it is public, what a request adds, how sure that is.

A row is a family of models that count alike; `providers/data/models.json` says which family a model
is of. The numbers of estimated families were fitted to recorded usage; a test holds them to it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from llm_gateway.tokens.vocabularies import Vocabulary


class Span(Struct, frozen=True):
    """A figure and between what it surely lies."""

    low: float
    likely: float
    high: float


def _surely(figure: float) -> Span:
    return Span(figure, figure, figure)


class Family(Struct, frozen=True, kw_only=True):
    """How a family counts, in tokens of `vocabulary` and tokens besides.

    `text` is its tokens for one of the vocabulary's. `tools` comes once where there are any, and
    `tool` for each token of their JSON; `schema` and `shape` likewise for a schema of the answer.
    """

    vocabulary: Vocabulary = "o200k_base"
    text: Span = _surely(1)
    start: Span = _surely(3)
    message: Span = _surely(4)
    tools: Span = Span(0, 8, 60)
    tool: Span = Span(0.3, 0.75, 1.1)
    schema: Span = Span(0, 10, 60)
    shape: Span = Span(0.3, 0.8, 1.1)
    thinking: Span = Span(0, 0.5, 1)  # of earlier turns: often left out
    image: Span = Span(0, 800, 5000)

    @property
    def exact(self) -> bool:
        """Whether plain text is counted to the token."""
        return all(span.low == span.high for span in (self.text, self.start, self.message))


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        # https://developers.openai.com/cookbook/examples/how_to_count_tokens_with_tiktoken
        "cl100k": Family(vocabulary="cl100k_base"),
        "o200k": Family(),
        # The same with a token less: reasoning models begin an answer otherwise.
        "o200k-reasoning": Family(start=_surely(2), tools=Span(0, 20, 150)),
        # Of the same maker, in a name that nobody knows yet.
        "openai": Family(
            text=Span(0.9, 1, 1.2),
            start=Span(2, 3, 30),
            message=Span(3, 4, 6),
            tools=Span(0, 20, 150),
        ),
        "embeddings": Family(vocabulary="cl100k_base", start=_surely(0), message=_surely(0)),
        "claude": Family(
            text=Span(0.9, 1.2, 2.2),
            start=Span(0, 5, 45),
            message=Span(0, 3, 8),
            tools=Span(200, 450, 750),
            tool=Span(0.6, 1.4, 2.2),
            schema=Span(50, 170, 350),
            shape=Span(0.3, 1.1, 2.2),
        ),
        "claude-5": Family(
            text=Span(0.9, 1.45, 3),
            start=Span(0, 5, 45),
            message=Span(0, 3, 8),
            tools=Span(200, 600, 1100),
            tool=Span(0.6, 1.7, 3),
            schema=Span(50, 250, 500),
            shape=Span(0.3, 1.4, 3),
        ),
        "gemini": Family(
            text=Span(0.7, 1.1, 1.5),
            start=Span(0, 1, 10),
            message=Span(0, 1, 5),
            tools=Span(0, 30, 200),
            tool=Span(0.2, 0.8, 1.6),
            schema=Span(0, 5, 60),
            shape=Span(0, 0.5, 1.6),
            image=Span(0, 300, 5000),
        ),
        "other": Family(
            text=Span(0.6, 1.1, 1.9),
            start=Span(0, 6, 60),
            message=Span(0, 4, 10),
            tools=Span(0, 220, 900),
            tool=Span(0.3, 1.2, 2.5),
            schema=Span(0, 60, 400),
            shape=Span(0, 1, 2.5),
        ),
    }
)
