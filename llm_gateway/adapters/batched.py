"""Take the requests of a batch for one call, and what they used for one usage.

They call one model on behalf of one end user: one price, one provider and the same budgets bind
them all.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from llm_gateway.errors import InvalidRequestError
from llm_gateway.types import Call, Usage

Placed = tuple[str, Call]  # a request, and where its fields stand


def together(requests: Sequence[Placed], dialect: str, body: dict[str, Any], *, size: int) -> Call:
    """Return requests as one call. Raises InvalidRequestError naming the first that differs."""
    calls = [call for _, call in requests]
    first = calls[0]
    for at, call in requests:
        if call.model != first.model:
            raise InvalidRequestError(
                f"All requests of a batch call one model; the first one calls {first.model!r}.",
                param=f"{at}.model",
            )
        if call.end_user != first.end_user:
            raise InvalidRequestError(
                "All requests of a batch speak for one end user; that of the first one is"
                f" {first.end_user!r}.",
                param=at,
            )
    return Call(
        dialect=dialect,
        operation="batches",
        model=first.model,
        body=body,
        size=size,
        end_user=first.end_user,
        max_output_tokens=sum((call.max_output_tokens or 0) * call.choices for call in calls),
        wants_usage=True,
        needs=frozenset({"batches"}).union(*(call.needs for call in calls)),
        requests=len(calls),
        items=sum(call.items for call in calls),
        images=sum(call.images for call in calls),
        documents=sum(call.documents for call in calls),
        audio=sum(call.audio for call in calls),
        media_bytes=sum(call.media_bytes for call in calls),
        searches=sum(call.searches for call in calls),
        units=frozenset().union(*(call.units for call in calls)),
        unsized=next((call.unsized for call in calls if call.unsized), ""),
        rounds=sum(call.rounds for call in calls),
    )


def all_used(usages: Iterable[Usage]) -> Usage:
    """Return what several answers used together."""
    fields = [one for one in Usage.__struct_fields__ if one != "estimated"]
    counted = list(usages)
    return Usage(**{name: sum(getattr(one, name) for one in counted) for name in fields})
