"""Let an operator say what an attempt cost, where the ledger could only guess.

An orphan is charged all that was held for it; what the provider's bill says is right. As with every
correction an entry is added, of the difference, and a second time nothing is left to add. The
request log goes on saying what was known when the request ended.
"""

from uuid import UUID

from tenants import audit
from tenants.models import Tenant
from tenants.money.models import Entry
from tenants.money.ops import Correct
from tenants.money.rows import EntryRow
from tenants.money.session import Session
from tenants.types import usd

UNIT = "adjustment"
_COPIED = (
    *("request_id", "attempt_no", "outcome", "tenant_id", "project_id", "api_key_id", "user_id"),
    *("end_user", "tags", "deployment_id", "model", "price_version_id", "hold_nano", "usage"),
)


class UnknownAttemptError(LookupError):
    """There is no such attempt in the ledger."""


def adjust(
    session: Session,
    request_id: UUID,
    attempt_no: int,
    amount_nano: int,
    *,
    reason: str,
    actor: str,
) -> int:
    """Make an attempt cost `amount_nano` in all; return by how much that changed it.

    The trail is the entry, with the reason, and an event of the audit log. Raises
    UnknownAttemptError.
    """
    entries = list(
        Entry.all_tenants_unsafe.filter(request_id=request_id, attempt_no=attempt_no).order_by(
            "seq"
        )
    )
    attempt = next((one for one in entries if one.kind == Entry.Kind.ATTEMPT), None)
    if attempt is None:
        raise UnknownAttemptError(f"The ledger has no attempt {attempt_no} of {request_id}.")
    charged = sum(one.amount_nano for one in entries)
    session.carefully([Correct(_entry(attempt, amount_nano, reason))])
    if charged != amount_nano:
        _leave_trail(actor, attempt, (charged, amount_nano), reason)
    return amount_nano - charged


def _entry(attempt: Entry, amount_nano: int, reason: str) -> EntryRow:
    line = {"unit": UNIT, "units": 1, "per": 1, "price_nano": amount_nano}
    return EntryRow(
        kind="adjustment",
        seq=0,  # the ledger knows which is next
        estimated=False,
        unpriced=False,
        amount_nano=amount_nano,
        bucket_ids=tuple(attempt.bucket_ids),
        lines=[line | {"amount_nano": amount_nano, "reason": reason}],
        **{name: getattr(attempt, name) for name in _COPIED},
    )


def _leave_trail(actor: str, attempt: Entry, costs: tuple[int, int], reason: str) -> None:
    tenant = Tenant.objects.filter(pk=attempt.tenant_id).first()
    if tenant is None:
        return  # the entry itself tells the reason
    before, after = map(usd, costs)
    name = f"{attempt.request_id}/{attempt.attempt_no}"
    audit.record(
        actor,
        "adjusted",
        tenant,
        {"attempt": None, "cost": before, "reason": None},
        {"attempt": name, "cost": after, "reason": reason},
    )
