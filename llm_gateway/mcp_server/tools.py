"""Do what each tool promises, for one caller, on the one path: same limits, budgets and ledger."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from llm_gateway.access import KeyScope
from llm_gateway.errors import InvalidRequestError
from llm_gateway.insight.budgets import budgets_now
from llm_gateway.insight.export import keyed, measures
from llm_gateway.insight.usage import GROUPS, Question, usage
from llm_gateway.scope import Scope
from llm_gateway.service import asking, catalogue, chatting
from llm_gateway.service.carried import Carried
from llm_gateway.service.inbound import Controls
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stored import in_database
from tenants.types import Caller, usd

Wire = dict[str, Any]

ENDPOINT = "/mcp"
MOST_DAYS, MOST_ROWS = 366, 500


class Asked(Struct, frozen=True, kw_only=True):
    """One call of a tool: by whom, with what, and what was said beside it."""

    runtime: Runtime
    caller: Caller
    arguments: Wire
    request_id: UUID
    controls: Controls = Controls()

    @property
    def asker(self) -> asking.Asker:
        return asking.Asker(
            runtime=self.runtime,
            caller=self.caller,
            endpoint=ENDPOINT,
            request_id=self.request_id,
            controls=self.controls,
        )


class Tool(Struct, frozen=True, kw_only=True):
    """What a tool is called and takes; `text` is what a model reads of its result."""

    name: str
    description: str
    properties: Mapping[str, Wire]
    required: tuple[str, ...] = ()
    scope: KeyScope = "inference"
    reads_only: bool = True
    run: Callable[[Asked], Awaitable[Wire]]
    text: Callable[[Wire], str] = lambda result: msgspec.json.encode(result).decode()

    @property
    def schema(self) -> Wire:
        return {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.required),
            "additionalProperties": False,
        }


def visible(caller: Caller) -> list[Tool]:
    """Return the tools that a caller may use."""
    return [tool for tool in TOOLS.values() if tool.scope in caller.scopes]


async def _complete(asked: Asked) -> Wire:
    asker = asked.asker
    chat = await chatting.chat_of(asker, dict(asked.arguments))
    async with Scope() as closing:
        carried = Carried(asked.runtime, chat.inbound)
        closing.on_close(carried.end)
        completion = await chatting.whole(chat, await carried.answer(), asker)
    result: Wire = msgspec.to_builtins(completion)
    return result


async def _embed(asked: Asked) -> Wire:
    texts = asked.arguments.get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError("'texts' must be a list of texts.", param="texts")
    inbound = asking.embed(asked.asker, texts, asked.arguments.get("model"))
    async with Scope() as closing:
        carried = Carried(asked.runtime, inbound)
        closing.on_close(carried.end)
        result: Wire = msgspec.to_builtins(asking.embeddings(await carried.answer()))
    return result


async def _list_models(asked: Asked) -> Wire:
    given = asked.arguments
    wanted = catalogue.Wanted(
        capability=given.get("capability"),
        min_context=given.get("min_context") or 0,
        provider=given.get("provider"),
    )
    found = catalogue.models(asked.runtime, asked.caller, wanted)
    routes = [] if given else catalogue.routes(asked.runtime, asked.caller)
    result: Wire = msgspec.to_builtins({"data": found, "routes": routes})
    return result


async def _usage(asked: Asked) -> Wire:
    days, group = asked.arguments.get("days") or 30, asked.arguments.get("group_by") or "model"
    caller, now = asked.caller, datetime.fromtimestamp(asked.runtime.wall_clock(), UTC)
    zone = caller.zone
    today = datetime.combine(now.astimezone(zone).date(), time(), zone)
    question = Question(
        tenant_id=caller.tenant_id,
        zone=zone.key,
        groups=(group,),
        start=today - timedelta(days=days - 1),
        end=today + timedelta(days=1),
    )
    rows = await in_database(lambda: usage(question, limit=MOST_ROWS))
    budgets = await in_database(lambda: budgets_now(caller, now))
    return {
        "from": question.start.isoformat(),
        "to": question.end.isoformat(),
        "rows": [{**keyed(question.groups, row), **measures(row)} for row in rows],
        "budgets": [
            {
                "name": one.rule.name,
                "scope": one.rule.scope,
                "limit_usd": None if one.limit_nano is None else usd(one.limit_nano),
                "used_usd": usd(one.used_nano),
                "held_usd": usd(one.held_nano),
            }
            for one in budgets
        ],
    }


_TEXT = {"type": "string"}
_MODEL = {**_TEXT, "description": "A model or route; without it, the gateway chooses."}

TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            name="complete",
            description="Ask a language model and return its answer with usage and cost.",
            properties={
                "prompt": {**_TEXT, "description": "What to ask. Or give messages."},
                "messages": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"role": _TEXT, "content": {}},
                        "required": ["role", "content"],
                    },
                },
                "model": _MODEL,
                "max_tokens": {"type": "integer", "minimum": 1},
                "temperature": {"type": "number"},
                "response_schema": {
                    "type": "object",
                    "description": "A JSON Schema; the answer's object fits it.",
                },
                "prompt_template": {**_TEXT, "description": "The name of a kept prompt."},
                "conversation": {**_TEXT, "description": "An id, or new."},
            },
            run=_complete,
            reads_only=False,
            text=lambda result: str(result["content"]),
        ),
        Tool(
            name="embed",
            description="Turn texts into vectors.",
            properties={"texts": {"type": "array", "items": _TEXT}, "model": _MODEL},
            required=("texts",),
            run=_embed,
            reads_only=False,
        ),
        Tool(
            name="list_models",
            description="List the models this key may call: window, abilities, prices, health.",
            properties={
                "capability": {**_TEXT, "description": "chat, tools, vision, embeddings, …"},
                "min_context": {"type": "integer", "minimum": 0},
                "provider": _TEXT,
            },
            run=_list_models,
        ),
        Tool(
            name="usage",
            description="Tell what the tenant used and spent, and how full its budgets are.",
            properties={
                "days": {"type": "integer", "minimum": 1, "maximum": MOST_DAYS},
                "group_by": {"type": "string", "enum": list(GROUPS)},
            },
            scope="usage",
            run=_usage,
        ),
    )
}
