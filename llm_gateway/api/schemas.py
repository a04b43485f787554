"""Describe requests and answers for the OpenAPI document; the adapters do the validating."""

from typing import get_args

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from llm_gateway.types import StrategyName

STRATEGIES = list(get_args(StrategyName))


class Problem(serializers.Serializer[None]):
    """An error (RFC 9457). `attempts` lists provider, status and category of each upstream call."""

    type = serializers.CharField(help_text="urn:mobius:problem:{code}")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="One sentence for a person.")
    code = serializers.CharField(help_text="Also in the header x-mobius-code.")
    request_id = serializers.UUIDField()
    param = serializers.CharField(required=False, help_text="The field or parameter at fault.")
    attempts = serializers.ListField(child=serializers.DictField(), required=False)


PROBLEM = OpenApiResponse(Problem, "A problem; the media type is application/problem+json.")


class Message(serializers.Serializer[None]):
    role = serializers.ChoiceField(["system", "developer", "user", "assistant", "tool"])
    content = serializers.JSONField(help_text="A text, or a list of parts as OpenAI writes them.")


class CompleteRequest(serializers.Serializer[None]):
    """Either `messages`, `prompt` or `prompt_template`."""

    messages = Message(many=True, required=False)
    prompt = serializers.CharField(required=False, help_text="Short for one message of a user.")
    prompt_template = serializers.JSONField(
        required=False, help_text="A name, or {name, version, variables}."
    )
    conversation = serializers.CharField(
        required=False, help_text="The id of one that goes on, or `new`."
    )
    optimize_prompt = serializers.JSONField(
        required=False, help_text="true, or the tokens that the prompt may have."
    )
    response_schema = serializers.JSONField(
        required=False, help_text="A JSON Schema that the answer has to fit."
    )
    cache = serializers.JSONField(
        required=False, help_text="false, `no-cache` or `no-store`: as x-mobius-cache."
    )
    model = serializers.CharField(
        required=False,
        help_text="A model or route. Without: the first route, else the best model; the answer"
        " names the model that was used.",
    )
    models = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Models to try in this order, instead of `model`.",
    )
    provider = serializers.CharField(required=False, help_text="Tried first where it can.")
    strategy = serializers.ChoiceField(STRATEGIES, required=False)
    temperature = serializers.FloatField(required=False)
    max_tokens = serializers.IntegerField(required=False, min_value=1)
    top_p = serializers.FloatField(required=False)
    stop = serializers.ListField(child=serializers.CharField(), required=False)
    user = serializers.CharField(required=False, help_text="Your end user, for budgets by user.")


class SeveralRequest(CompleteRequest):
    """The same with `models` in place of `model`: 2 to 5, asked at once."""

    models = serializers.ListField(child=serializers.CharField(), min_length=2, max_length=5)


class CacheUsed(serializers.Serializer[None]):
    """What answers given again did for the tenant in the last 30 days, over all processes."""

    since = serializers.DateTimeField()
    requests = serializers.IntegerField(help_text="All of them, answered or not.")
    hits = serializers.IntegerField(help_text="Given an answer that was there.")
    saved_usd = serializers.CharField()


class Cache(serializers.Serializer[None]):
    enabled = serializers.BooleanField()
    ttl_s = serializers.IntegerField()
    single_flight = serializers.BooleanField()
    used = CacheUsed()


class Usage(serializers.Serializer[None]):
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()


class Completion(serializers.Serializer[None]):
    content = serializers.CharField()
    object = serializers.JSONField(allow_null=True)
    model = serializers.CharField(help_text="The model that answered.")
    provider = serializers.CharField()
    usage = Usage()
    cost_usd = serializers.CharField(help_text="Decimal string, all attempts together.")
    response_time_ms = serializers.FloatField()
    finish_reason = serializers.CharField(allow_null=True)
    cache = serializers.ChoiceField(["hit", "miss", "semantic-hit", "off"])
    attempts = serializers.IntegerField()
    request_id = serializers.UUIDField()
    max_tokens = serializers.IntegerField(
        required=False, help_text="To how many a budget shortened the answer."
    )


class Explanation(serializers.Serializer[None]):
    """The decision record that a request would have."""

    request = serializers.DictField()
    route = serializers.DictField()
    guardrails = serializers.ListField(child=serializers.DictField())
    limits = serializers.ListField(child=serializers.DictField())
    timeouts = serializers.ListField(child=serializers.DictField())
    candidates = serializers.ListField(child=serializers.DictField())
    dropped = serializers.ListField(child=serializers.DictField())
    refused = serializers.DictField(allow_null=True)


class OneOfSeveral(Completion):
    """One model's answer; `problem` in place of everything else where it failed."""

    asked = serializers.CharField(help_text="The model that was asked for.")
    problem = Problem(required=False)


class Answers(serializers.Serializer[None]):
    answers = OneOfSeveral(many=True)


class Chunk(serializers.Serializer[None]):
    content = serializers.CharField()
    provider = serializers.CharField()
    model = serializers.CharField()
    finish_reason = serializers.CharField(allow_null=True)
    usage = Usage(required=False)
    cost_usd = serializers.CharField(required=False)
    max_tokens = serializers.IntegerField(required=False)


class EmbedRequest(serializers.Serializer[None]):
    texts = serializers.ListField(child=serializers.CharField())
    model = serializers.CharField(required=False)


class Embeddings(serializers.Serializer[None]):
    embeddings = serializers.ListField(child=serializers.ListField(child=serializers.FloatField()))
    model = serializers.CharField()
    provider = serializers.CharField()
    usage = Usage()
    cost_usd = serializers.CharField()
    request_id = serializers.UUIDField()


class Look(serializers.Serializer[None]):
    """When the provider's model list was looked at last, and what was wrong with it."""

    at = serializers.DateTimeField()
    error = serializers.CharField(help_text="Empty: nothing.")


class Health(serializers.Serializer[None]):
    state = serializers.CharField(help_text="Of the circuit: closed, open, half_open, ramp, …")
    error_rate = serializers.FloatField()
    first_token_ms = serializers.FloatField(allow_null=True)
    in_flight = serializers.IntegerField()
    said_by = serializers.ChoiceField(
        ["traffic", "probe"], allow_null=True, help_text="What spoke of it last."
    )
    probe = Look(allow_null=True)


class Model(serializers.Serializer[None]):
    """One model at one provider; null is not known."""

    model = serializers.CharField()
    provider = serializers.CharField()
    context_window = serializers.IntegerField(allow_null=True)
    max_output_tokens = serializers.IntegerField(allow_null=True)
    capabilities = serializers.ListField(child=serializers.CharField(), allow_null=True)
    quality = serializers.IntegerField(allow_null=True)
    prices = serializers.DictField(allow_null=True, help_text="US dollars per million tokens.")
    health = Health()
    alternative = serializers.CharField(
        allow_null=True, help_text="While the circuit is open: a model that could stand in."
    )


class Route(serializers.Serializer[None]):
    route = serializers.CharField()
    strategy = serializers.CharField()
    models = serializers.ListField(child=serializers.CharField())


class Models(serializers.Serializer[None]):
    data = Model(many=True)  # type: ignore[assignment] # a field, no property
    routes = Route(many=True)


class ProviderMetrics(serializers.Serializer[None]):
    provider = serializers.CharField()
    requests = serializers.IntegerField(help_text="Attempts at this provider.")
    success_rate = serializers.FloatField()
    average_ms = serializers.FloatField()
    p95_ms = serializers.FloatField()
    tokens = serializers.IntegerField()
    cost_usd = serializers.CharField()
    errors = serializers.DictField(child=serializers.IntegerField())  # type: ignore[assignment] # likewise
    circuits = serializers.DictField(child=serializers.CharField(), help_text="State by model.")


class Metrics(serializers.Serializer[None]):
    window_s = serializers.IntegerField()
    data = ProviderMetrics(many=True)  # type: ignore[assignment] # a field, no property


class BudgetState(serializers.Serializer[None]):
    name = serializers.CharField()
    scope = serializers.ChoiceField(["tenant", "project", "api_key"])
    period = serializers.CharField()
    model = serializers.CharField(allow_null=True)
    per = serializers.CharField(allow_null=True)
    subject = serializers.CharField(
        allow_null=True, help_text="Of a budget for each of something: the one that spent most."
    )
    hard = serializers.BooleanField()
    limit = serializers.CharField(allow_null=True)
    used = serializers.CharField()
    used_percent = serializers.FloatField(allow_null=True, help_text="Of the limit.")
    held = serializers.CharField()
    remaining = serializers.CharField(allow_null=True)
    renews_at = serializers.DateTimeField(allow_null=True)
    forecast_at = serializers.DateTimeField(
        allow_null=True,
        help_text="When it is used up, as `/api/v1/forecast` has it; null: not in this period.",
    )


class Rate(serializers.Serializer[None]):
    scope = serializers.CharField()
    requests_per_minute = serializers.IntegerField(allow_null=True)
    tokens_per_minute = serializers.IntegerField(allow_null=True)
    concurrency = serializers.IntegerField(allow_null=True)


class Key(serializers.Serializer[None]):
    name = serializers.CharField()
    id = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField(allow_null=True)


class Me(serializers.Serializer[None]):
    tenant = serializers.CharField()
    project = serializers.CharField(allow_null=True)
    key = Key()
    models = serializers.ListField(child=serializers.CharField())
    rate_limits = Rate(many=True)
    budgets = BudgetState(many=True)


class RequestRow(serializers.Serializer[None]):
    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    endpoint = serializers.CharField()
    dialect = serializers.CharField()
    key = serializers.CharField()
    project = serializers.CharField()
    requested_model = serializers.CharField()
    model = serializers.CharField()
    provider = serializers.CharField()
    stream = serializers.BooleanField()
    status = serializers.IntegerField()
    outcome = serializers.ChoiceField(["ok", "refused", "failed", "cancelled"])
    code = serializers.CharField()
    usage = Usage()
    estimated = serializers.BooleanField()
    cost_usd = serializers.CharField()
    cache = serializers.CharField()
    duration_ms = serializers.FloatField()
    first_token_ms = serializers.FloatField(allow_null=True)
    attempts = serializers.IntegerField()


class RequestRows(serializers.Serializer[None]):
    data = RequestRow(many=True)  # type: ignore[assignment] # a field, no property
    next = serializers.CharField(allow_null=True, help_text="Cursor of the next page.")


class RequestDecision(RequestRow):
    """One request with everything that was decided on it."""

    error = serializers.CharField()
    finish_reason = serializers.CharField()
    end_user = serializers.CharField()
    tags = serializers.DictField()
    lines = serializers.ListField(child=serializers.DictField(), help_text="Of the cost.")
    limits = serializers.ListField(child=serializers.DictField())
    guardrails = serializers.ListField(
        child=serializers.DictField(),
        required=False,
        help_text="Those that looked: `name`, `kind`, `action`, `on`, and how many `matches`.",
    )
    timeouts = serializers.ListField(child=serializers.DictField())
    candidates = serializers.ListField(child=serializers.CharField())
    dropped = serializers.ListField(child=serializers.DictField())
    steps = serializers.ListField(child=serializers.CharField())
    attempts = serializers.ListField(child=serializers.DictField())  # type: ignore[assignment]
    payload = serializers.DictField(
        required=False,
        allow_null=True,
        help_text="`level`, `dialect`, and `request` and `answer`, each with `body`, `size` in"
        " bytes and whether it was `cut`. Only for keys that manage; null: nothing is kept.",
    )


COMPLETE_EXAMPLES = [
    OpenApiExample("A prompt", {"prompt": "Say hello.", "model": "smart"}, request_only=True),
    OpenApiExample(
        "A conversation with bounds",
        {
            "messages": [
                {"role": "system", "content": "Answer in one sentence."},
                {"role": "user", "content": "Why is the sky blue?"},
            ],
            "strategy": "cheapest",
            "max_tokens": 100,
        },
        request_only=True,
    ),
]
