"""Say where a signed-in person sits: over the whole installation, or in one tenant with a role.

Read from the database at every request, so that a change of roles is in force at the next one.
"""

from typing import Any, cast

from django.contrib.auth import SESSION_KEY, get_user
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils import timezone
from msgspec import Struct

from tenants.models import Member
from tenants.rights import Role, reaches
from tenants.signin import sessions
from tenants.signin.rules import is_operator

# Where a session keeps the tenant that somebody with several looks at.
CHOSEN = "tenant"


class Seat(Struct, frozen=True, kw_only=True):
    """One person: an operator of the installation, or somebody of a tenant."""

    user_id: int
    person: str  # as the audit names them
    operator: bool = False
    member_id: int | None = None
    tenant_id: int | None = None
    tenant: str = ""
    role: Role | None = None

    def reaches(self, least: Role | None) -> bool:
        """Say whether this person may what needs at least this role of their tenant."""
        return self.operator or reaches(self.role, least)


def seat_of(request: HttpRequest) -> Seat | None:
    """Return where who asks sits; None for who is not signed in or belongs nowhere."""
    if not hasattr(request, "found_seat"):
        chosen = request.session.get(CHOSEN) if hasattr(request, "session") else None
        request.found_seat = find_seat(request.user, chosen)  # type: ignore[attr-defined] # ours
    return cast("Seat | None", request.found_seat)  # type: ignore[attr-defined] # set above


def find_seat(user: User | AnonymousUser, chosen: int | None = None) -> Seat | None:
    """Return the seat of a user; of several tenants the chosen one's, else the first's."""
    if not isinstance(user, User) or not user.is_active:
        return None
    if is_operator(user):
        return Seat(user_id=user.pk, person=user.get_username(), operator=True)
    seats = memberships(user)
    wanted = [member for member in seats if member.tenant_id == chosen] or seats
    return _seated(user, wanted[0]) if wanted else None


def memberships(user: User) -> list[Member]:
    """Return what a person is in each tenant that is switched on, by the tenants' names."""
    found = Member.all_tenants_unsafe.filter(user=user, tenant__active=True)
    return list(found.select_related("tenant").order_by("tenant__name"))


def seat_of_session(session: SessionBase) -> Seat | None:
    """Return the seat of whoever a session belongs to, where there is no request of Django's."""
    if SESSION_KEY not in session:
        return None
    request: Any = _Sessioned(session)
    user = get_user(request)
    if isinstance(user, User) and not sessions.counts(session, user, timezone.now().timestamp()):
        return None
    return find_seat(user, session.get(CHOSEN))


class _Sessioned:
    """As much of a request as `get_user` looks at."""

    def __init__(self, session: SessionBase) -> None:
        self.session = session


def _seated(user: User, member: Member) -> Seat:
    return Seat(
        user_id=user.pk,
        person=user.get_username(),
        member_id=member.pk,
        tenant_id=member.tenant_id,
        tenant=member.tenant.name,
        role=cast("Role", member.role),
    )
