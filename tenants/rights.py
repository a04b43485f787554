"""Say which role of a tenant sees and changes what in the console: data that code and tests read.

Roles are in order: each may what the one before may. What is not listed is the operator's alone.
"""

from typing import Literal

from msgspec import Struct

Role = Literal["viewer", "member", "admin", "owner"]
ROLES: tuple[Role, ...] = ("viewer", "member", "admin", "owner")


def reaches(role: Role | None, least: Role | None) -> bool:
    """Say whether a role is at least this one; nobody reaches None."""
    return role is not None and least is not None and ROLES.index(role) >= ROLES.index(least)


class Rows(Struct, frozen=True, kw_only=True):
    """The least role that sees, makes, changes and removes rows of a model; None: no role."""

    see: Role | None = None
    make: Role | None = None
    change: Role | None = None
    remove: Role | None = None


class Field(Struct, frozen=True):
    """The least role that reads a field and the least that writes it; None: no role."""

    read: Role | None
    write: Role | None = None


_NOTHING, _SHUT = Rows(), Field(None)
_RULES = Rows(see="viewer", make="admin", change="admin", remove="admin")
_SEEN = Rows(see="viewer")
_READ, _MANAGED, _OWNED = Field("viewer"), Field("viewer", "admin"), Field("viewer", "owner")

ROW_MATRIX: dict[str, Rows] = {
    "Tenant": Rows(see="viewer", change="owner"),
    "Project": _RULES,
    "Member": Rows(see="admin", make="owner", change="owner", remove="owner"),
    "ApiKey": Rows(see="viewer", make="admin", change="admin"),
    "Budget": _RULES,
    "RateLimit": _RULES,
    "Guardrail": _RULES,
    "RaiseRequest": Rows(see="member"),
    "Bucket": _SEEN,
    "Hold": _SEEN,
    "Entry": _SEEN,
    "Alert": _SEEN,
    "AuditEvent": Rows(see="admin"),
    "RequestLog": _SEEN,
    "RunningNow": _SEEN,
}

# Of models whose rows a role may make or change; of all others, who sees a row reads it, but for
# what is named here too.
FIELD_MATRIX: dict[tuple[str, str], Field] = {
    ("Tenant", "name"): _READ,
    ("Tenant", "active"): _READ,
    ("Tenant", "time_zone"): _OWNED,
    ("Tenant", "allowed_models"): _READ,
    ("Tenant", "log_payloads"): _OWNED,
    ("Tenant", "payload_days"): _OWNED,
    ("Tenant", "operators_read_payloads"): _OWNED,
    ("Tenant", "retention_months"): _READ,
    ("Tenant", "cache"): _OWNED,
    ("Tenant", "single_flight"): _OWNED,
    ("Tenant", "runs"): _OWNED,
    ("Project", "name"): _MANAGED,
    ("Member", "email"): Field("admin", "owner"),
    ("Member", "role"): Field("admin", "owner"),
    ("ApiKey", "public_id"): _READ,
    ("ApiKey", "name"): _MANAGED,
    ("ApiKey", "project"): _MANAGED,
    ("ApiKey", "holder"): _MANAGED,
    ("ApiKey", "scopes"): _MANAGED,
    ("ApiKey", "allowed_models"): _MANAGED,
    ("ApiKey", "expires_at"): _MANAGED,
    ("Budget", "name"): _MANAGED,
    ("Budget", "limit_nano"): _MANAGED,
    ("Budget", "period"): _MANAGED,
    ("Budget", "hard"): _MANAGED,
    ("Budget", "mode"): _MANAGED,
    ("Budget", "thresholds"): _MANAGED,
    ("Budget", "project"): _MANAGED,
    ("Budget", "api_key"): _MANAGED,
    ("Budget", "model_filter"): _MANAGED,
    ("Budget", "per"): _MANAGED,
    ("Budget", "raise_nano"): _MANAGED,
    ("Budget", "raise_until"): _MANAGED,
    ("RateLimit", "requests_per_minute"): _MANAGED,
    ("RateLimit", "tokens_per_minute"): _MANAGED,
    ("RateLimit", "concurrency"): _MANAGED,
    ("RateLimit", "project"): _MANAGED,
    ("RateLimit", "api_key"): _MANAGED,
    **{
        ("Guardrail", name): _MANAGED
        for name in ("name", "kind", "action", "side", "entities", "patterns", "words")
    },
    # What people and models said; an operator reads it where the tenant's owner allows that.
    ("RequestLog", "payload"): Field("admin"),
}


def rows_of(model: str) -> Rows:
    """Return who may do what with rows of a model (`Budget`)."""
    return ROW_MATRIX.get(model, _NOTHING)


def field_of(model: str, field: str) -> Field:
    """Return who reads and who writes a field."""
    return FIELD_MATRIX.get((model, field), _SHUT)
