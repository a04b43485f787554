"""Hold what is sent to a provider to the schemas that providers publish, where they lie beside us.

A recording shows what a provider takes beyond its document; nothing else may go beyond it.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import jsonschema_rs

from llm_gateway.adapters import CHAT_ADAPTERS
from llm_gateway.adapters.base import ChatAdapter, ChatUpstream
from llm_gateway.adapters.crossing import cross
from llm_gateway.errors import InvalidRequestError, UnexpressibleError
from llm_gateway.types import Call, ChatRequest, Outgoing, Quirks
from tests.unit.adapters import golden, golden_providers, recordings

Body = dict[str, Any]
OPENAI, ANTHROPIC, GEMINI = ("openai", "anthropic", "gemini")
SCHEMAS = {
    ("openai_chat", "chat"): (OPENAI, "CreateChatCompletionRequest"),
    ("openai_responses", "chat"): (OPENAI, "CreateResponse"),
    ("openai_completions", "chat"): (OPENAI, "CreateCompletionRequest"),
    ("openai_embeddings", "embeddings"): (OPENAI, "CreateEmbeddingRequest"),
    ("openai_moderations", "moderations"): (OPENAI, "CreateModerationRequest"),
    ("anthropic_messages", "chat"): (ANTHROPIC, "CreateMessageParams"),
    ("anthropic_messages", "count_tokens"): (ANTHROPIC, "CountMessageTokensParams"),
    ("gemini", "chat"): (GEMINI, "GenerateContentRequest"),
    ("gemini", "count_tokens"): (GEMINI, "CountTokensRequest"),
    ("gemini_embeddings", "embeddings"): (GEMINI, "BatchEmbedContentsRequest"),
}
LIMIT = 12345  # of output, where a target wants one and the request says none
MOST_REFUSED = 40  # places of one request that a target may refuse, one after the other


class Violation(NamedTuple):
    """A field whose value breaks a schema, is unknown to it or missing, and how."""

    field: str
    how: str


class Asked:
    """One request as a client sent it: a golden case's, or a recorded one's."""

    def __init__(self, name: str, call: Call, body: Body, said: Body, *, recorded: bool) -> None:
        self.id, self.operation, self.body = name, call.operation, body
        self.dialect, self.recorded = call.dialect, recorded
        self.said = said  # by the path, where the dialect says it there

    @property
    def own(self) -> list[Violation]:
        return violations(self.dialect, self.operation, self.body)

    @property
    def shown(self) -> list[Violation]:
        """Return what a provider was seen to take beyond its document."""
        return self.own if self.recorded else []


def asked() -> Iterator[Asked]:
    """Yield every golden case's request, then every recorded one, whose protocol is published."""
    for case in golden.cases():
        call = golden.call_of(case)
        if (call.dialect, call.operation) in SCHEMAS:
            body = json.loads((case / "request.json").read_bytes())
            yield Asked(golden.name_of(case), call, body, golden.named(case), recorded=False)
    for one in golden_providers.cases():
        yield Asked(one.id, one.call, one.body, {}, recorded=False)
    for row in recordings.recordings():
        said = recordings.NAMED.get(row.api, {})
        yield Asked(row.id, row.call(), row.request, said, recorded=True)


# --- what is sent


def across(
    caller: ChatAdapter, upstream: ChatUpstream, body: Body, quirks: Quirks
) -> tuple[Outgoing | None, list[str]]:
    """Return the request as it is sent without what is refused, and what that was.

    None is a request of which nothing is left to send.
    """
    refused: list[str] = []
    while len(refused) < MOST_REFUSED:
        try:
            request = caller.parse_request(body)
            return sent(caller, upstream, request, quirks), refused
        except UnexpressibleError as error:
            refused.append(str(error.param))
            less = without(body, str(error.param))
            if less == body:
                return None, refused
            body = less
        except InvalidRequestError as error:
            return None, [*refused, str(error.param)]
    raise AssertionError(f"there is no end of what is refused: {refused}")


def sent(
    caller: ChatAdapter, upstream: ChatUpstream, request: ChatRequest, quirks: Quirks
) -> Outgoing:
    return cross(caller, upstream, request, quirks, default_max_tokens=LIMIT)


def without(body: Body, place: str) -> Body:
    """Return a copy without what stands at a place: of a list its entry, else the field."""
    steps = [int(step) if step.isdigit() else step for step in place.replace("[", ".[").split(".")
             for step in [step.strip("[]")]]  # fmt: skip
    numbers = [at for at, step in enumerate(steps) if isinstance(step, int)]
    if numbers:
        steps = steps[: numbers[-1] + 1]
    copy: Body = json.loads(json.dumps(body))
    holder: Any = copy
    for step in steps[:-1]:
        try:
            holder = holder[step]
        except (KeyError, IndexError, TypeError):
            return copy
    last: Any = steps[-1]
    if isinstance(holder, list) and isinstance(last, int) and last < len(holder):
        del holder[last]
    elif isinstance(holder, dict):
        holder.pop(last, None)
    return copy


def without_accent(body: Body, quirks: Quirks) -> Body:
    """Return a body without what a provider's quirks say it adds to its protocol."""
    added = quirks.extras | ({quirks.seed_field} - {"seed"})
    if quirks.top_k:
        added |= {"top_k"}
    if quirks.reasoning_field != "reasoning_effort":
        added |= {"reasoning", "thinking"}
    plain = {name: value for name, value in body.items() if name not in added}
    if "messages" in plain:
        plain["messages"] = [_unthought(one, quirks) for one in plain["messages"]]
    return plain


def _unthought(message: Body, quirks: Quirks) -> Body:
    """Return a message without earlier thinking, for which OpenAI's own protocol has no word."""
    if message["role"] != "assistant":
        return message
    said = {name: value for name, value in message.items() if name != quirks.thought_field}
    content = message.get("content")
    if quirks.thought_field != "content" or not isinstance(content, list):
        return message if quirks.thought_field == "content" else said
    rest = [part for part in content if part["type"] != "thinking"]
    return {**said, "content": rest or ""}


# --- what is published


def violations(adapter: str, operation: str, body: object) -> list[Violation]:
    """Return where a body breaks the provider's schema."""
    found = schema(*SCHEMAS[adapter, operation]).iter_errors(body)
    broken = [Violation(name, error.message[:300]) for error in found for name in named(error)]
    # Documents that are put together of several leave open what else a body may hold.
    unknown = set(body) - fields(*SCHEMAS[adapter, operation]) if isinstance(body, dict) else ()
    return broken + [Violation(name, "is in no document") for name in sorted(unknown)]


def named(error: jsonschema_rs.ValidationError) -> list[str]:
    """Return the fields themselves: those that are too many or missing, else the one that holds."""
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.AdditionalProperties(unexpected=names):
            return list(names)
        case jsonschema_rs.ValidationErrorKind.UnevaluatedProperties(unexpected=names):
            return list(names)
        case jsonschema_rs.ValidationErrorKind.Required(property=name):
            return [str(name).strip('"')]
        case _:
            steps = [str(step) for step in error.instance_path if not isinstance(step, int)]
            return [steps[-1] if steps else ""]


def beyond(own: list[Violation], found: list[Violation]) -> list[Violation]:
    """Return what is broken in fields that the request itself does not break."""
    broken = {one.field for one in own}
    return [one for one in found if one.field not in broken]


@cache
def schema(family: str, name: str) -> jsonschema_rs.Validator:
    """Return a validator that knows every word: a name that is in no document is a violation."""
    defined = closed(family)
    return jsonschema_rs.validator_for(
        {"$ref": f"#/$defs/{name}", "$defs": defined}, retriever=recordings.refuse
    )


@cache
def closed(family: str) -> Body:
    """Return the named schemas, each object of which holds what it names and nothing else.

    Documents leave that open. Parts that others are put together of stay as they are.
    """
    defined = recordings.definitions(f"{family}.schemas.json")
    # A schema of the caller's own has whatever words it has.
    parts = {"InputSchema"} | {
        one["$ref"].rpartition("/")[2] for one in _put_together(defined) if "$ref" in one
    }
    return {name: schema if name in parts else _closed(schema) for name, schema in defined.items()}


def _put_together(schema: Any) -> Iterator[Body]:
    """Yield every part of which another schema is put together."""
    if isinstance(schema, list):
        for one in schema:
            yield from _put_together(one)
    elif isinstance(schema, dict):
        parts = schema.get("allOf")
        yield from parts if isinstance(parts, list) else ()
        for one in schema.values():
            yield from _put_together(one)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict) or "allOf" in schema:
        return schema
    inner = {name: _closed(one) for name, one in schema.items()}
    named = isinstance(inner.get("properties"), dict) and "additionalProperties" not in inner
    return inner | ({"additionalProperties": False} if named else {})


@cache
def fields(family: str, name: str) -> frozenset[str]:
    """Return the names that a body may hold, of all the documents that one is put together of."""
    definitions = recordings.definitions(f"{family}.schemas.json")
    return frozenset(_properties({"$ref": f"#/$defs/{name}"}, definitions))


def _properties(schema: Body, definitions: Body) -> Iterator[str]:
    if "$ref" in schema:
        yield from _properties(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    yield from schema.get("properties", {})
    for part in schema.get("allOf", ()):
        yield from _properties(part, definitions)


PAIRS = [
    (caller, upstream)
    for caller in CHAT_ADAPTERS
    for upstream in CHAT_ADAPTERS
    if caller != upstream
]
