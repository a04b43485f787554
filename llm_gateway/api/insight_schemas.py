"""Describe what usage, forecasts and recommendations answer, for the OpenAPI document."""

from rest_framework import serializers
from typing_extensions import override


class UsageRow(serializers.Serializer[None]):
    """The keys that were grouped by, and these sums."""

    requests = serializers.IntegerField()
    errors = serializers.IntegerField(help_text="Failed or refused.")  # type: ignore[assignment] # a field here, a property of the class
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    cost_usd = serializers.CharField()
    cache_hits = serializers.IntegerField()
    saved_usd = serializers.CharField()


class UsagePage(serializers.Serializer[None]):
    rows = UsageRow(many=True)
    next = serializers.CharField(allow_null=True, help_text="`cursor` of the next page.")

    @override
    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg] # generic only in the stubs
        # `from` is a word of Python's own.
        instants = {
            name: serializers.DateTimeField(help_text=told)
            for name, told in (("from", "Inclusive."), ("to", "Exclusive."))
        }
        return {**instants, **super().get_fields()}


class BudgetForecast(serializers.Serializer[None]):
    """`at` is null when the budget is not reached before it renews."""

    name = serializers.CharField()
    scope = serializers.CharField()
    period = serializers.CharField()
    model = serializers.CharField(allow_null=True)
    per = serializers.CharField(allow_null=True)
    subject = serializers.CharField(help_text="Of a budget for each of several: the fullest.")
    limit = serializers.CharField(allow_null=True)
    used = serializers.CharField()
    renews_at = serializers.DateTimeField(allow_null=True)
    at = serializers.DateTimeField(allow_null=True)
    earliest = serializers.DateTimeField(allow_null=True)
    latest = serializers.DateTimeField(allow_null=True)
    usd_per_day = serializers.CharField()
    method = serializers.ChoiceField(["history", "period_to_date", "none"])
    steps = serializers.IntegerField(help_text="Days, or hours for budgets of a day or an hour.")


class Forecasts(serializers.Serializer[None]):
    method = serializers.CharField()
    data = BudgetForecast(many=True)  # type: ignore[assignment] # likewise


class Recommendation(serializers.Serializer[None]):
    kind = serializers.ChoiceField(
        ["cheaper_model", "cache_answers", "cache_prompts", "unused_key"]
    )
    subject = serializers.CharField(help_text="A model or a key.")
    advice = serializers.CharField()
    saving_usd = serializers.CharField(help_text="Of the window, at least.")
    computed = serializers.CharField(help_text="How the saving was computed, with its figures.")
    figures = serializers.DictField()


class Recommendations(serializers.Serializer[None]):
    saving_usd = serializers.CharField(help_text="Of all; some exclude each other.")
    data = Recommendation(many=True)  # type: ignore[assignment] # likewise

    @override
    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg] # generic only in the stubs
        window = {name: serializers.DateTimeField() for name in ("from", "to")}
        return {**window, **super().get_fields()}
