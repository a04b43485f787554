"""Values that cross layers: frozen, slotted, without behaviour.

Money is an integer of nano-dollars, time a float of seconds unless the name says otherwise.
"""

from typing import Any, Literal

from msgspec import Struct

# --- what was used -------------------------------------------------------------------------


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one answer. `input` includes cached and cache-written tokens; `output` reasoning.

    OpenAI and Gemini count so on the wire; Anthropic does not, its adapter adds them.
    `estimated` says that we counted because the provider did not report.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0  # 5 minutes
    cache_write_1h: int = 0
    reasoning: int = 0
    estimated: bool = False


# --- a conversation, in no provider's words ------------------------------------------------

Role = Literal["system", "developer", "user", "assistant", "tool"]


class CacheMark(Struct, frozen=True):
    """Prompt-cache breakpoint after the part that carries it."""

    ttl: Literal["5m", "1h"] = "5m"


class TextPart(Struct, frozen=True, kw_only=True):
    text: str
    cache: CacheMark | None = None


class ImagePart(Struct, frozen=True, kw_only=True):
    """An image by `url`, or inline as base64 `data` with its `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    cache: CacheMark | None = None


class DocumentPart(Struct, frozen=True, kw_only=True):
    """A document by `url`, inline base64 `data` with `media_type`, or plain `text`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    text: str | None = None
    name: str | None = None
    cache: CacheMark | None = None


class AudioPart(Struct, frozen=True, kw_only=True):
    data: str
    format: str


class ThinkingPart(Struct, frozen=True, kw_only=True):
    """Earlier reasoning sent back; `signature` and `redacted` are opaque and kept byte for byte."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None


class ToolCallPart(Struct, frozen=True, kw_only=True):
    """The model asks for a tool; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str
    cache: CacheMark | None = None


class RefusalPart(Struct, frozen=True, kw_only=True):
    text: str


Leaf = TextPart | ImagePart | DocumentPart


class ToolResultPart(Struct, frozen=True, kw_only=True):
    call_id: str
    content: tuple[Leaf, ...] = ()
    is_error: bool = False
    cache: CacheMark | None = None


Part = (
    TextPart
    | ImagePart
    | DocumentPart
    | AudioPart
    | ThinkingPart
    | ToolCallPart
    | ToolResultPart
    | RefusalPart
)


class Message(Struct, frozen=True, kw_only=True):
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(Struct, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache: CacheMark | None = None


class ToolChoice(Struct, frozen=True, kw_only=True):
    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None


class ResponseFormat(Struct, frozen=True, kw_only=True):
    """`json` is JSON mode; `schema` asks for that JSON Schema."""

    kind: Literal["text", "json", "schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class Reasoning(Struct, frozen=True, kw_only=True):
    """How much to think: an `effort` word, a token `budget`, or `enabled` alone."""

    enabled: bool = True
    effort: str | None = None
    budget: int | None = None


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A chat request in no provider's words: what crosses from one dialect to another.

    `extras` holds the caller's fields that have no word here, in the caller's dialect; a target
    that cannot express one refuses it by name.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    choices: int = 1
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    service_tier: str | None = None
    metadata: dict[str, str] | None = None
    extras: dict[str, Any] = {}


# --- an answer as events ---------------------------------------------------------------------

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "pause"]


class Start(Struct, frozen=True, kw_only=True):
    """First event of an answer. `created` is in Unix seconds."""

    id: str
    model: str
    created: int | None = None


class TextDelta(Struct, frozen=True, kw_only=True):
    text: str
    choice: int = 0


class ThinkingDelta(Struct, frozen=True, kw_only=True):
    """A piece of visible reasoning, its signature, or a redacted block as a whole."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    choice: int = 0


class RefusalDelta(Struct, frozen=True, kw_only=True):
    text: str
    choice: int = 0


class ToolCallStart(Struct, frozen=True, kw_only=True):
    """Tool call number `index` of its choice begins."""

    index: int
    id: str
    name: str
    choice: int = 0


class ToolCallDelta(Struct, frozen=True, kw_only=True):
    index: int
    arguments: str
    choice: int = 0


class Finish(Struct, frozen=True, kw_only=True):
    """A choice is complete; `stop_sequence` is the one that stopped it, where it is known."""

    reason: FinishReason
    stop_sequence: str | None = None
    choice: int = 0


class UsageSeen(Struct, frozen=True, kw_only=True):
    """Usage so far; the last one is final."""

    usage: Usage


class End(Struct, frozen=True):
    """The provider's own terminal event came."""


Event = (
    Start
    | TextDelta
    | ThinkingDelta
    | RefusalDelta
    | ToolCallStart
    | ToolCallDelta
    | Finish
    | UsageSeen
    | End
)


# --- a request on its way ----------------------------------------------------------------------


class Call(Struct, frozen=True, kw_only=True):
    """What the gateway must know of a client's body to steer it; `body` is the rest, as parsed.

    `needs` are capabilities a target must have (chat, stream, tools, vision, json_schema, ...).
    `size` is the length in bytes of the canonical body: an upper bound of its input tokens.
    `operation` is chat, embeddings or count_tokens.
    """

    dialect: str
    operation: str
    model: str
    body: dict[str, Any]
    size: int
    stream: bool = False
    max_output_tokens: int | None = None
    choices: int = 1
    wants_usage: bool = False
    end_user: str | None = None
    needs: frozenset[str] = frozenset()
    items: int = 0  # messages, tools and images: each has a fixed token allowance


class Quirks(Struct, frozen=True, kw_only=True):
    """What a provider does differently within its protocol. Defaults are the protocol's own."""

    max_tokens_field: str = "max_completion_tokens"
    include_usage: bool = True  # understands stream_options.include_usage
    developer_role: bool = True
    json_schema: bool = True
    unsupported: frozenset[str] = frozenset()  # top-level fields the server refuses
    embeddings_batch: int = 2048
    default_headers: tuple[tuple[str, str], ...] = ()


class Outgoing(Struct, frozen=True, kw_only=True):
    """One request ready for the wire: a path under the provider's base URL, and a body."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    stream: bool = False


class Facts(Struct, kw_only=True):
    """What was seen of one answer so far; filled by the adapter that reads it, mutable for speed.

    `complete`: the provider's terminal event came. `content`: output reached us (a first token).
    `output_bytes` bounds output tokens where usage is never reported. `error` is an error object
    found inside a 200 answer.
    """

    id: str | None = None
    model: str | None = None
    usage: Usage | None = None
    usage_invalid: str | None = None  # a reported usage that is no number, as it was
    finish_reason: str | None = None
    complete: bool = False
    content: bool = False
    output_bytes: int = 0
    error: Exception | None = None
    skipped: int = 0  # malformed frames passed over
