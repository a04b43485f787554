"""Write usage as CSV, our own columns or those of FOCUS; no cell is a formula to a spreadsheet.

FOCUS: https://focus.finops.org, version 1.0; what is no column of it begins with `x_`. There is
no discount and no commitment here, so its four costs are one.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

from llm_gateway.insight.usage import DAY, TAG, UsageRow
from tenants.types import usd

MEASURES = (
    *("requests", "errors", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *("reasoning_tokens", "cost_usd", "cache_hits", "saved_usd"),
)
FOCUS_GROUPS = (DAY, "project", "key", "provider", "model", TAG)
FOCUS = (
    *("AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName"),
    *("BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory"),
    *("ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *("ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId"),
    *("CommitmentDiscountName", "CommitmentDiscountStatus", "CommitmentDiscountType"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice"),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory"),
    *("PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId"),
    *("RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory"),
    *("ServiceName", "SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags"),
    *("x_ApiKey", "x_Requests", "x_PromptTokens", "x_CompletionTokens", "x_CachedTokens"),
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_DAY = timedelta(days=1)


def measures(row: UsageRow) -> dict[str, Any]:
    """Return the sums of a row as they are told outside."""
    return {
        "requests": row.requests,
        "errors": row.errors,
        "prompt_tokens": row.input_tokens,
        "completion_tokens": row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "cost_usd": usd(row.cost_nano),
        "cache_hits": row.cache_hits,
        "saved_usd": usd(row.saved_nano),
    }


def keyed(groups: Sequence[str], row: UsageRow) -> dict[str, Any]:
    """Return what a row is the sum of: a date as ISO 8601, tags as an object."""
    return {group: _told(group, key) for group, key in zip(groups, row.keys, strict=True)}


def usage_csv(groups: Sequence[str], rows: Iterable[UsageRow]) -> str:
    return _written((*groups, *MEASURES), ({**keyed(groups, row), **measures(row)} for row in rows))


def focus_csv(tenant: tuple[int, str], zone: str, rows: Iterable[UsageRow]) -> str:
    """Return usage by FOCUS_GROUPS in the columns of FOCUS; `tenant` is its id and name."""
    return _written(FOCUS, (_charge(tenant, ZoneInfo(zone), row) for row in rows))


def safe(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    if isinstance(cell, dict):
        cell = json.dumps(cell, sort_keys=True, ensure_ascii=False)
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _told(group: str, key: Any) -> Any:  # noqa: ANN401 - a date, a text or tags
    if group == TAG:
        return json.loads(key)
    return key.isoformat() if isinstance(key, date) else key


def _charge(tenant: tuple[int, str], zone: ZoneInfo, row: UsageRow) -> dict[str, Any]:
    day, project, key, provider, model, tags = row.keys
    cost = usd(row.cost_nano)
    month = day.replace(day=1)
    tokens = row.input_tokens + row.output_tokens
    sku = f"{provider}/{model}"
    return {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        "BillingAccountId": tenant[0],
        "BillingAccountName": tenant[1],
        "BillingCurrency": "USD",
        "BillingPeriodStart": _midnight(month, zone),
        "BillingPeriodEnd": _midnight((month + 31 * _DAY).replace(day=1), zone),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{row.requests} requests to {sku}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _midnight(day, zone),
        "ChargePeriodEnd": _midnight(day + _DAY, zone),
        **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), tokens),
        **dict.fromkeys(("ConsumedUnit", "PricingUnit"), "Tokens"),
        "PricingCategory": "Standard",
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), provider),
        **dict.fromkeys(("ResourceId", "ResourceName", "ServiceName"), model),
        "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning",
        **dict.fromkeys(("SkuId", "SkuPriceId"), sku),
        **dict.fromkeys(("SubAccountId", "SubAccountName"), project),
        "Tags": json.loads(tags),
        "x_ApiKey": key,
        "x_Requests": row.requests,
        "x_PromptTokens": row.input_tokens,
        "x_CompletionTokens": row.output_tokens,
        "x_CachedTokens": row.cached_tokens,
    }


def _midnight(day: date, zone: ZoneInfo) -> str:
    return f"{datetime.combine(day, time(0), zone).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _written(columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([safe(column) for column in columns])
    writer.writerows([safe(row.get(column, "")) for column in columns] for row in rows)
    return text.getvalue()
