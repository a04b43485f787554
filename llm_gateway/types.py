"""Values that cross layers: frozen, slotted, without behaviour.

Money is an integer of nano-dollars, time a float of seconds unless the name says otherwise.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from llm_gateway.errors import GatewayError
from tenants.types import RateRule

# --- what was used -------------------------------------------------------------------------


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one answer. `input` includes cached and cache-written tokens; `output` reasoning.

    OpenAI and Gemini count so on the wire; Anthropic does not, its adapter adds them. Tokens of
    audio and images are part of both. `tool_calls` are those the provider ran and bills by call.
    `estimated` says that we counted because the provider did not report.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0  # 5 minutes
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    audio_seconds: int = 0
    tool_calls: int = 0
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
    items: int = 0  # messages and tools: each has a fixed token allowance
    images: int = 0  # images and documents, which have their own
    audio: int = 0  # pieces of sound
    media_bytes: int = 0  # of `size`, what is inline media and no text


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
    error: GatewayError | None = None
    skipped: int = 0  # malformed frames passed over


# --- configuration, as the snapshot holds it ---------------------------------------------------

StrategyName = Literal[
    "fallback",
    "cheapest",
    "fastest",
    "best_quality",
    "weighted",
    "round_robin",
    "least_busy",
    "race",
]
RetryStrategy = Literal["exponential", "linear", "fibonacci", "adaptive"]


class Timeouts(Struct, frozen=True, kw_only=True):
    """Seconds, as faults.md §3 defines them.

    `whole` bounds the wait for an answer that is not streamed while another target could still take
    over: what the operator gave as first_token, None where nobody gave one.
    """

    connect: float = 2.0
    first_token: float = 60.0
    idle: float = 30.0
    total: float = 600.0
    whole: float | None = None


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """Waits before a repeat on the same target; delays in seconds, `max_attempts` counts all."""

    strategy: RetryStrategy = "exponential"
    max_attempts: int = 3
    initial_delay: float = 0.5
    max_delay: float = 20.0
    base: float = 2.0
    jitter: float = 0.25


class BreakerSettings(Struct, frozen=True, kw_only=True):
    """When a circuit opens and how it comes back; times in seconds."""

    failure_threshold: int = 5
    recovery_timeout: float = 5.0
    max_recovery_timeout: float = 60.0
    success_threshold: int = 2
    adaptive: bool = False


class Tier(Struct, frozen=True, kw_only=True):
    """Prices of a whole request whose input, cached tokens included, exceeds the bound.

    None keeps the price's own line.
    """

    above_input_tokens: int
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None


class Price(Struct, frozen=True, kw_only=True):
    """One immutable, dated version of a model's prices.

    Nano-dollars per million tokens; `request`, `tool_call` and `audio_second` for one of each.
    None is unknown, 0 is free. `margin_ppm` comes on top of the whole, in millionths.
    """

    id: int
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    request: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    audio_second: int | None = None
    tool_call: int | None = None
    tiers: tuple[Tier, ...] = ()
    valid_from: date = date.min
    source: str = ""
    margin_ppm: int = 0


class Margin(Struct, frozen=True, kw_only=True):
    """One dated version of what a tenant pays over the list price, in millionths."""

    id: int
    ppm: int
    valid_from: date


class Terms(Struct, frozen=True, kw_only=True):
    """What one tenant pays other than the list price: by public model name, or on all of it."""

    prices: Mapping[str, tuple[Price, ...]] = {}
    margins: tuple[Margin, ...] = ()


class KeyConfig(Struct, frozen=True, kw_only=True):
    """A provider key without its secret; the snapshot keeps that apart, by id."""

    id: int
    name: str
    weight: int = 1


class ProviderConfig(Struct, frozen=True, kw_only=True):
    """Who answers. `adapters` maps an operation (chat, embeddings, ...) to an adapter's name.

    `tenant_id` None is everybody's; else only that tenant is served by it.
    """

    id: int
    name: str
    kind: str
    base_url: str
    adapters: Mapping[str, str]
    tenant_id: int | None = None
    allow_private_network: bool = False
    keys: tuple[KeyConfig, ...] = ()
    timeouts: Timeouts = Timeouts()
    max_concurrent_requests: int = 100
    retry: RetryPolicy | None = None
    breaker: BreakerSettings = BreakerSettings()
    quirks: Quirks = Quirks()
    options: Mapping[str, Any] = {}


class Deployment(Struct, frozen=True, kw_only=True):
    """A model at a provider, under a public name that several may share.

    `capabilities` None is unknown: taken to be whatever the provider's adapters can do.
    """

    id: int
    name: str
    provider: ProviderConfig
    upstream_name: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None
    quality: int | None = None
    weight: int = 1
    prices: tuple[Price, ...] = ()
    rates: RateRule | None = None


class When(Struct, frozen=True, kw_only=True):
    """Conditions of a route or one target; all that are given must hold."""

    max_input_tokens: int | None = None
    tags: Mapping[str, str] = {}
    budget_used_below: float | None = None


class RouteTarget(Struct, frozen=True, kw_only=True):
    """One line of a route: a public model name, with every deployment that carries it."""

    model: str
    weight: int = 1
    when: When | None = None


class RouteConfig(Struct, frozen=True, kw_only=True):
    name: str
    strategy: StrategyName = "fallback"
    targets: tuple[RouteTarget, ...] = ()
    when: When | None = None


class Settings(Struct, frozen=True, kw_only=True):
    fallback_routes: tuple[str, ...] = ()
    log_payloads: Literal["none", "redacted", "full"] = "none"
    drain_seconds: float = 120.0


class Configuration(Struct, frozen=True, kw_only=True):
    """What can be called: `models` maps a public name to its deployments; `terms` a tenant's id."""

    models: Mapping[str, tuple[Deployment, ...]] = {}
    routes: Mapping[str, RouteConfig] = {}
    settings: Settings = Settings()
    terms: Mapping[int, Terms] = {}


class Target(Struct, frozen=True, kw_only=True):
    """A deployment chosen for one attempt, and the key it is called with (None: needs no key).

    `weight` is its share among the targets of equal `rank`; `rank` its line in the route.
    """

    deployment: Deployment
    key: KeyConfig | None = None
    rank: int = 0
    weight: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.deployment.provider.name}/{self.deployment.name}"


# --- a finished call ---------------------------------------------------------------------------

Ending = Literal["ok", "refused", "failed", "cancelled"]


class AttemptRecord(Struct, frozen=True, kw_only=True):
    """One attempt as it ended; times in milliseconds, the first two since the request began.

    `status` is what the provider said, if anything; `category` the kind of error, if there is one.
    """

    number: int
    provider: str
    model: str
    deployment_id: int
    key_name: str = ""
    status: int | None = None
    category: str = ""
    outcome: str = ""
    reason: str = ""
    started_ms: float = 0.0
    first_token_ms: float | None = None
    duration_ms: float = 0.0
    cost_nano: int = 0


class CallRecord(Struct, frozen=True, kw_only=True):
    """One client request as it ended: what every sink is told, and what the request log keeps.

    `decision` holds the limits checked and the candidates dropped; the attempts join them there.
    `lines` are the cost's line items. Sizes are in bytes and go to the log line alone. `digest`
    names the whole request, `prefix_digest` its leading instructions and tools of `prefix_tokens`.
    """

    id: UUID
    created_at: datetime
    tenant_id: int
    tenant_name: str
    endpoint: str
    dialect: str
    requested_model: str
    stream: bool
    status: int
    outcome: Ending
    api_key_id: int | None = None
    project_id: int | None = None
    project_name: str = ""
    key_name: str = ""
    model: str = ""
    provider: str = ""
    code: str = ""
    category: str = ""
    error: str = ""
    finish_reason: str = ""
    end_user: str = ""
    tags: Mapping[str, str] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cost_nano: int = 0
    lines: Sequence[Any] = ()
    cache: str = "off"
    saved_nano: int = 0
    digest: str = ""
    prefix_digest: str = ""
    prefix_tokens: int = 0
    duration_ms: float = 0.0
    first_token_ms: float | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    decision: Mapping[str, Any] = {}
    payload: bytes | None = None
    request_bytes: int = 0
    answer_bytes: int = 0
