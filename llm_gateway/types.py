"""Values that cross layers: frozen, slotted, without behaviour.

Money is an integer of nano-dollars, time a float of seconds unless the name says otherwise.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.errors import GatewayError, Rejection
from tenants.types import RateRule

# --- what was used -------------------------------------------------------------------------


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one answer. `input` includes cached and cache-written tokens; `output` reasoning.

    OpenAI and Gemini count so on the wire; Anthropic does not, its adapter adds them. Tokens of
    audio and images are part of both. `tool_calls` are those the provider ran and bills by call,
    `images` those of the request, `other_model` tokens of models that it asked beside its own.
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
    images: int = 0
    tool_calls: int = 0
    other_model: int = 0
    estimated: bool = False


# --- a conversation, in no provider's words ------------------------------------------------

Role = Literal["system", "developer", "user", "assistant", "tool"]


class CacheMark(Struct, frozen=True):
    """Prompt-cache breakpoint after the part that carries it."""

    ttl: Literal["5m", "1h"] = "5m"


class TextPart(Struct, frozen=True, kw_only=True):
    """Text; `signature` as in a ToolCallPart."""

    text: str
    cache: CacheMark | None = None
    signature: str | None = None


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
    """The model asks for a tool; `arguments` is JSON text as the model wrote it.

    `signature` is Google's, which signs the call and not the thinking before it: byte for byte.
    """

    id: str
    name: str
    arguments: str
    cache: CacheMark | None = None
    signature: str | None = None


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
    """How much to think: an `effort` word, a token `budget`, or `enabled` alone.

    `visible`: the caller wants to read it, where a target has to be told.
    """

    enabled: bool = True
    effort: str | None = None
    budget: int | None = None
    visible: bool = False


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A chat request in no provider's words: what crosses from one dialect to another.

    `extras` holds the caller's fields that have no word here, in the caller's dialect; a target
    that cannot express one refuses it by name. `named` is what the caller called a field that its
    dialect has two names for, by the one that is usual there. `window` is the deployment's context
    window, for servers that have to be told; `reasons` says that the model is known to think
    unasked.
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
    window: int | None = None
    reasons: bool = False
    extras: dict[str, Any] = {}
    named: dict[str, str] = {}


# --- an answer as events ---------------------------------------------------------------------

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "pause"]


class Start(Struct, frozen=True, kw_only=True):
    """First event of an answer. `created` is in Unix seconds."""

    id: str
    model: str
    created: int | None = None


class TextDelta(Struct, frozen=True, kw_only=True):
    """A piece of text; a `signature` is of all the text before it, and may come without any."""

    text: str
    choice: int = 0
    signature: str | None = None


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
    """Tool call number `index` of its choice begins; `signature` as in a ToolCallPart."""

    index: int
    id: str
    name: str
    choice: int = 0
    signature: str | None = None


class ToolCallDelta(Struct, frozen=True, kw_only=True):
    index: int
    arguments: str
    choice: int = 0


class TokenLogprob(Struct, frozen=True, kw_only=True):
    """How likely one token was, and the likeliest ones in its place; `raw` are its bytes."""

    token: str
    logprob: float
    raw: tuple[int, ...] | None = None
    top: tuple["TokenLogprob", ...] = ()


class Logprobs(Struct, frozen=True, kw_only=True):
    """How likely the tokens of a piece of text were."""

    tokens: tuple[TokenLogprob, ...]
    choice: int = 0


class Citation(Struct, frozen=True, kw_only=True):
    """Where something that the answer says is from, and what is said there (`quote`).

    `source` names a document or a tool's result; one in the web has a `url`. `start` and `end` are
    characters of the choice's whole text; None where the provider does not tell the place.
    """

    url: str | None = None
    title: str | None = None
    source: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
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
    | Logprobs
    | Citation
    | Finish
    | UsageSeen
    | End
)


# --- embeddings, in no provider's words --------------------------------------------------------

Purpose = Literal["query", "document", "classification", "clustering", "similarity"]


class EmbeddingsRequest(Struct, frozen=True, kw_only=True):
    """Inputs to be embedded: texts, or lists of tokens. `extras` as in a ChatRequest.

    `purpose` is what the vectors are for, where the caller says it.
    """

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    purpose: Purpose | None = None
    user: str | None = None
    extras: dict[str, Any] = {}


class EmbeddingsAnswer(Struct, frozen=True, kw_only=True):
    """Vectors in the order of the inputs, and how many tokens those were."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage = Usage()


# --- a request on its way ----------------------------------------------------------------------


class Call(Struct, frozen=True, kw_only=True):
    """What the gateway must know of a client's body to steer it; `body` is the rest, as parsed.

    `needs` are capabilities a target must have (chat, stream, tools, vision, json_schema, ...).
    `size` is the length in bytes of the canonical body: an upper bound of its input tokens.
    `operation` is chat, embeddings, rerank, moderations, batches or count_tokens. `ways` are the
    operations of a provider by which it can be answered, the best first; by itself alone where it
    has none.
    `continues` are ids of what a provider has kept and `kept_tokens` what that adds to the input.
    `units` are those of a price, beyond plain tokens, that the body shows may be used
    (`pricing.UNITS`). `unsized` is the first field that brings input of which the body says no
    size, and `rounds` how often a provider may read its input for one answer.
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
    images: int = 0  # which have their own
    documents: int = 0  # whose text the body does not hold
    audio: int = 0  # pieces of sound
    media_bytes: int = 0  # of `size`, what is inline media and no text
    requests: int = 1  # of a batch; another call is one
    searches: int = 0  # and other calls of its own tools that a provider may run and bill
    unreported_calls: int = 0  # of these, those that no usage tells of
    units: frozenset[str] = frozenset()
    unsized: str = ""
    rounds: int = 1
    ways: tuple[str, ...] = ()
    continues: tuple[str, ...] = ()
    kept_tokens: int = 0


class Quirks(Struct, frozen=True, kw_only=True):
    """What a provider does differently within its protocol. Defaults are the protocol's own."""

    max_tokens_field: str = "max_completion_tokens"
    seed_field: str = "seed"
    reasoning_field: Literal[
        "reasoning_effort", "reasoning", "thinking", "thinking, reasoning_effort"
    ] = "reasoning_effort"
    thought_field: Literal["reasoning_content", "reasoning", "reasoning_details", "content"] = (
        "reasoning_content"  # where earlier thinking is sent back
    )
    include_usage: bool = True  # understands stream_options.include_usage
    usage_unasked: bool = False  # streams tell usage to whoever asks: it is not taken out again
    done_marker: bool = True  # its streams end with [DONE]
    developer_role: bool = True
    json_schema: bool = True
    any_schema: bool = True  # takes every schema; else only objects that are closed
    top_k: bool = False
    short_call_ids: bool = False  # ids of tool calls are nine letters and digits
    unsupported: frozenset[str] = frozenset()  # top-level fields the server refuses
    extras: frozenset[str] = frozenset()  # those of its own, passed on from any dialect
    only_named: frozenset[str] = frozenset()  # operations that a model's capabilities have to name
    paths: tuple[tuple[str, str], ...] = ()  # operation and path, `{model}` in it
    embeddings_batch: int = 100  # inputs of one call
    embeddings_batch_bytes: int = 1_000_000
    default_headers: tuple[tuple[str, str], ...] = ()
    request_fee: bool = False  # bills every request, and searches by that


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
    found inside a 200 answer. `kept` are ids under which the provider keeps what it answered.
    """

    id: str | None = None
    model: str | None = None
    usage: Usage | None = None
    usage_invalid: str | None = None  # a reported usage that is no number, as it was
    cost_nano: int | None = None  # what the provider itself says that it charges
    finish_reason: str | None = None
    complete: bool = False
    content: bool = False
    output_bytes: int = 0
    error: GatewayError | None = None
    skipped: int = 0  # malformed frames passed over
    kept: tuple[str, ...] = ()


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
Affinity = Literal["session", "prompt"]
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

    @property
    def patience(self) -> tuple[float, float, float]:
        """What a provider's silence is measured by; the whole request's deadline is apart."""
        return self.connect, self.first_token, self.idle

    def at_most(self, limits: Mapping[str, float]) -> "Timeouts":
        """Return these, none of those that are named longer than is said."""
        shorter = {name: min(getattr(self, name), most) for name, most in limits.items()}
        if "first_token" in limits:
            shorter["whole"] = shorter["first_token"]
        return replace(self, **shorter)


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """Waits before a repeat on the same target; delays in seconds, `max_attempts` counts all."""

    strategy: RetryStrategy = "exponential"
    max_attempts: int = 3
    initial_delay: float = 0.5
    max_delay: float = 20.0
    base: float = 2.0
    jitter: float = 0.25


class HealthCheck(Struct, frozen=True, kw_only=True):
    """How often an idle provider is asked for its model list, in seconds; 0 is never.

    `probe_as` is the tenant that pays for a word asked of each model that nobody called for
    `probe_interval` seconds; None: nobody does, and none is asked.
    """

    interval: float = 60.0
    probe_as: str | None = None
    probe_interval: float = 300.0


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
    request: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    image: int | None = None
    audio_second: int | None = None
    tool_call: int | None = None


class Price(Struct, frozen=True, kw_only=True, cache_hash=True):
    """One immutable, dated version of a model's prices.

    Nano-dollars per million tokens; `request`, `image`, `audio_second` and `tool_call` for one of
    each. None is unknown, 0 is free; of a `reviewed` price a line that is missing is part of
    another one. `margin_ppm` comes on top of the whole, in millionths; `margin_id` says by which
    version.
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
    image: int | None = None
    audio_second: int | None = None
    tool_call: int | None = None
    tiers: tuple[Tier, ...] = ()
    valid_from: date = date.min
    source: str = ""
    reviewed: bool = False
    margin_ppm: int = 0
    margin_id: int | None = None


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

    `tenant_id` None is everybody's; else only that tenant is served by it. `models_path` is where
    it lists its models for free, empty where it does not.
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
    charge_by: str = "prices"  # or "provider": what its answers say that they cost
    on_disconnect: str = "drain"  # or "abort": what becomes of an answer whose caller left
    retry: RetryPolicy | None = None
    breaker: BreakerSettings = BreakerSettings()
    health_check: HealthCheck = HealthCheck()
    models_path: str = ""
    quirks: Quirks = Quirks()
    options: Mapping[str, Any] = {}


class Batching(Struct, frozen=True, kw_only=True):
    """When small embeddings calls of one tenant that come at once are sent as one.

    At `inputs` of them in all, or `wait` seconds after the first.
    """

    inputs: int = 10
    wait: float = 0.1


class Deployment(Struct, frozen=True, kw_only=True):
    """A model at a provider, under a public name that several may share.

    `capabilities` None is unknown: taken to be whatever the provider's adapters can do.
    `image_tokens` is what one image costs at most; None where nobody says.
    """

    id: int
    name: str
    provider: ProviderConfig
    upstream_name: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    image_tokens: int | None = None
    capabilities: frozenset[str] | None = None
    quality: int | None = None
    weight: int = 1
    prices: tuple[Price, ...] = ()
    rates: RateRule | None = None
    batching: Batching | None = None
    own_timeouts: Timeouts | None = None

    @property
    def timeouts(self) -> Timeouts:
        return self.own_timeouts or self.provider.timeouts


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
    """A name over several models. `instead` are models for what its targets reject, by why.

    `waits` are seconds at most of first_token, idle and total, whatever its targets allow.
    """

    name: str
    strategy: StrategyName = "fallback"
    targets: tuple[RouteTarget, ...] = ()
    when: When | None = None
    instead: Mapping[Rejection, tuple[str, ...]] = {}
    hedge: bool = False
    affinity: Affinity | None = None
    waits: Mapping[str, float] = {}

    @property
    def watches_budget(self) -> bool:
        """Say whether a condition of it depends on how much of a budget is used."""
        conditions = (self.when, *(target.when for target in self.targets))
        return any(when is not None and when.budget_used_below is not None for when in conditions)


class Settings(Struct, frozen=True, kw_only=True):
    fallback_routes: tuple[str, ...] = ()
    log_payloads: Literal["none", "redacted", "full"] = "none"
    drain_seconds: float = 120.0
    pre_stop_seconds: float = 3.0
    caller_idle_seconds: float = 60.0


class Configuration(Struct, frozen=True, kw_only=True):
    """What can be called: `models` maps a public name to its deployments; `terms` a tenant's id.

    `key_waits` are an api key's, by its id, as a route's are.
    """

    models: Mapping[str, tuple[Deployment, ...]] = {}
    routes: Mapping[str, RouteConfig] = {}
    settings: Settings = Settings()
    terms: Mapping[int, Terms] = {}
    key_waits: Mapping[int, Mapping[str, float]] = {}


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
    `admit_ms` and `settle_ms` are how long the ledger took, 0 where it was not asked or did not
    answer. `alarms` name what is wrong with how it was charged (`tenants.money.alarms`).
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
    alarms: tuple[str, ...] = ()
    admit_ms: float = 0.0
    settle_ms: float = 0.0


class CallRecord(Struct, frozen=True, kw_only=True):
    """One client request as it ended: what every sink is told, and what the request log keeps.

    `decision` holds the limits checked and the candidates dropped; the attempts join them there.
    `lines` are the cost's line items. `fallback`: for which rejection another model answered;
    `hedged`: a second one was asked since the first was late. Sizes are in bytes and go to the log
    line alone. `digest` names the whole request, `prefix_digest` its leading instructions and tools
    of `prefix_tokens`. `payload` is what is kept of its contents, sealed; no sink is told of it.
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
    fallback: Rejection | Literal[""] = ""
    hedged: bool = False
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
