"""Get an answer of a shape: asked for in each target's way, judged, and asked for once more.

The second question is an attempt like any other, with its own hold and entry.
"""

from typing import Any

import msgspec
from msgspec.structs import replace
from typing_extensions import override

from llm_gateway.errors import SchemaMismatchError
from llm_gateway.prompts.answer_schema import Expected
from llm_gateway.prompts.shaping import MENDED, shaped, way_for
from llm_gateway.routing.router import Plan
from llm_gateway.service.attempt import Attempt
from llm_gateway.service.exchange import Exchange
from llm_gateway.types import Call, ChatRequest, EmbeddingsRequest, Outgoing, Target


class ShapedAttempt(Attempt):
    """An attempt that asks its target for an answer of a shape as that target understands it."""

    @override
    def _crossing(self, asked: ChatRequest | EmbeddingsRequest, limit: int | None) -> Outgoing:
        expects = self.inbound.expects
        if expects is not None and isinstance(asked, ChatRequest):
            schema, quirks = dict(expects.shape.schema), self.provider.quirks
            way = way_for(self.deployment.capabilities, quirks, schema)
            asked = shaped(asked, schema, way, quirks)
        return super()._crossing(asked, limit)


class StructuredExchange(Exchange):
    """A request whose answer has to fit a schema; a stream is judged by whoever reads its end."""

    _second: Plan | None = None

    @override
    async def _first_answer(self, call: Call) -> Attempt:
        attempt = await super()._first_answer(call)
        if call.stream:
            return attempt
        said, problem = self._judged(attempt)
        if problem is None:
            return attempt
        await self._end(attempt, None)
        self.steps.append("the answer was not of the shape asked for: asked once more")
        attempt = await self._once_more(call, attempt.target, said, problem)
        said, problem = self._judged(attempt)
        if problem is None:
            return attempt
        await self._end(attempt, None)
        raise SchemaMismatchError(
            f"The answer does not fit the schema: {problem}", detail={"content": said}
        )

    async def _once_more(self, call: Call, target: Target, said: str, problem: str) -> Attempt:
        """Ask again, whoever answered first before all others."""
        assert self.plan is not None  # noqa: S101 - planned for the first question
        others = tuple(one for one in self.plan.attempts if one != target)
        self._second = Plan((target, *others), self.plan.dropped)
        return await super()._first_answer(_mending(call, said, problem))

    @override
    def _plan(self, call: Call) -> Plan:
        return self._second or super()._plan(call)

    @override
    def attempt_for(self, call: Call, target: Target, number: int) -> Attempt:
        return ShapedAttempt(self.runtime, self.inbound, call, target, number)

    def _judged(self, attempt: Attempt) -> tuple[str, str | None]:
        expects = self.inbound.expects
        assert expects is not None  # noqa: S101 - else this is no such exchange
        said = content_of(attempt.head + attempt.tail)
        return said, expects.read(said).problem


def content_of(body: bytes) -> str:
    """Return what the model said in a whole answer of the native dialect."""
    content: str = msgspec.json.decode(body)["content"]
    return content


def mismatch(expects: Expected, said: str) -> SchemaMismatchError | None:
    """Return the error for an answer that is read at its end; None for one that fits."""
    problem = expects.read(said).problem
    if problem is None:
        return None
    return SchemaMismatchError(f"The answer does not fit the schema: {problem}")


def _mending(call: Call, said: str, problem: str) -> Call:
    """Return the call with the answer it got and what is wrong with that."""
    turns: list[dict[str, Any]] = [{"role": "assistant", "content": said}] if said else []
    turns.append({"role": "user", "content": MENDED.format(problem=problem)})
    return replace(
        call,
        body={**call.body, "messages": [*call.body["messages"], *turns]},
        size=call.size + len(said) + len(problem) + len(MENDED),
        items=call.items + len(turns),
    )
