"""Rows of holds and entries as the writer hands them to the database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from tenants.money.types import HoldRequest, Settlement

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

# The sweeper comes this long after the deadline of the attempt itself (money.md §4.9).
GRACE_S = 60.0

State = Literal["open", "uncertain"]
Kind = Literal["attempt", "correction", "cache_hit", "adjustment", "carry"]


class HoldRow(Struct, kw_only=True):
    """A hold in the database. `deadline_s` counts from its admission and is used there only."""

    id: UUID
    request_id: UUID
    attempt_no: int
    tenant_id: int
    project_id: int | None
    api_key_id: int | None
    deployment_id: int | None
    model: str
    price_version_id: int | None
    amount_nano: int
    bucket_ids: tuple[int, ...]
    input_estimate: int
    input_nano: int
    output_nano_per_million: int
    end_user: str
    tags: dict[str, str]
    unpriced: bool
    state: State = "open"
    seen_output: int = 0
    deadline_s: float = 0.0


class EntryRow(Struct, kw_only=True):
    """An entry but for its hashes; as JSON with sorted keys it is what the hash covers."""

    request_id: UUID
    attempt_no: int
    kind: Kind
    seq: int
    outcome: str
    estimated: bool
    unpriced: bool
    tenant_id: int
    project_id: int | None
    api_key_id: int | None
    user_id: int | None = None
    end_user: str
    tags: dict[str, str]
    deployment_id: int | None
    model: str
    price_version_id: int | None
    amount_nano: int
    hold_nano: int
    provider_cost_nano: int | None = None
    bucket_ids: tuple[int, ...]
    usage: dict[str, Any] = {}
    lines: Sequence[Any] = ()
    body_ref: str | None = None
    created_at: datetime = _NEVER
    writer_id: int = 0
    writer_seq: int = 0


def hold_row(hold_id: UUID, request: HoldRequest, bucket_ids: tuple[int, ...]) -> HoldRow:
    return HoldRow(
        id=hold_id,
        request_id=request.request_id,
        attempt_no=request.attempt_no,
        tenant_id=request.tenant_id,
        project_id=request.project_id,
        api_key_id=request.api_key_id,
        deployment_id=request.deployment_id,
        model=request.model,
        price_version_id=request.price_version_id,
        amount_nano=request.amount_nano,
        bucket_ids=bucket_ids,
        input_estimate=request.input_estimate,
        input_nano=request.input_nano,
        output_nano_per_million=request.output_nano_per_million,
        end_user=request.end_user,
        tags=request.tags,
        unpriced=request.unpriced,
        deadline_s=request.deadline_s + GRACE_S,
    )


def entry_row(
    spent: HoldRequest | HoldRow,
    settlement: Settlement,
    bucket_ids: tuple[int, ...],
    created_at: datetime,
) -> EntryRow:
    """Return the terminal entry of an attempt."""
    return EntryRow(
        request_id=spent.request_id,
        attempt_no=spent.attempt_no,
        kind="attempt",
        seq=0,
        outcome=settlement.outcome,
        estimated=settlement.estimated,
        unpriced=spent.unpriced if settlement.unpriced is None else settlement.unpriced,
        tenant_id=spent.tenant_id,
        project_id=spent.project_id,
        api_key_id=spent.api_key_id,
        end_user=spent.end_user,
        tags=spent.tags,
        deployment_id=spent.deployment_id,
        model=spent.model,
        price_version_id=spent.price_version_id,
        amount_nano=settlement.amount_nano,
        hold_nano=spent.amount_nano,
        provider_cost_nano=settlement.provider_cost_nano,
        bucket_ids=bucket_ids,
        usage=settlement.usage,
        lines=settlement.lines,
        created_at=created_at,
    )
