"""What a signed-in session knows of itself, and when it is over.

Nothing else signs anybody in: whoever comes by password, provider or invitation passes `begin`.
"""

from typing import Any, Literal, TypedDict, cast

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import F
from django.http import HttpRequest

from tenants import audit
from tenants.signin.models import SignIn
from tenants.signin.people import join_tenants
from tenants.signin.rules import is_operator, must_use_sso, named_operator

Factor = Literal["", "app", "sso"]

ABSOLUTE_S = 7 * 24 * 3600
# Writing the session moves its end; not with every request.
TOUCH_S = 300
_KEY = "sign_in"


class Facts(TypedDict):
    """`began` and `seen` in seconds since 1970; `sessions` as the person's row had it then."""

    began: float
    seen: float
    sessions: int
    factor: Factor
    roles: str


def begin(request: HttpRequest, user: User, *, factor: Factor, now: float) -> None:
    """Sign a person in, in a session with a new id."""
    join_tenants(user)
    # Django asks for the back end only where it is not the first.
    backend = getattr(user, "backend", settings.AUTHENTICATION_BACKENDS[0])
    # Whatever this browser was before, signed in already or not, its id is of no use any more.
    request.session.flush()
    auth.login(request, user, backend=backend)
    request.session.clear_expired()
    _keep(request, _new_facts(user, factor, now))
    audit.record(user.get_username(), "signed in", user)


def check(request: HttpRequest, now: float) -> None:
    """End the session when its time is over; give it a new id when its roles have changed."""
    user = request.user
    if not isinstance(user, User):
        return
    facts = facts_of(request) or _new_facts(user, "", now)
    standing = _standing(user)
    if _is_over(user, facts, standing, now):
        auth.logout(request)
        return
    if facts["roles"] != standing["roles"]:
        request.session.cycle_key()
    fresh = now - facts["seen"] < TOUCH_S and facts["roles"] == standing["roles"]
    if not fresh or facts_of(request) is None:
        _keep(request, {**facts, "seen": now, "roles": standing["roles"]})


def counts(session: SessionBase, user: User, now: float) -> bool:
    """Say whether a session is not over, where there is no request to end it in."""
    facts = cast("Facts | None", session.get(_KEY))
    return facts is None or not _is_over(user, facts, _standing(user), now)


def facts_of(request: HttpRequest) -> Facts | None:
    return cast("Facts | None", request.session.get(_KEY))


def has_second_factor(request: HttpRequest) -> bool:
    facts = facts_of(request)
    return facts is not None and facts["factor"] != ""


def set_factor(request: HttpRequest, factor: Factor) -> None:
    """Note that this session has now, or no longer, shown a second factor; it gets a new id."""
    facts = facts_of(request)
    assert facts is not None  # noqa: S101 - `check` has looked at every signed-in request
    request.session.cycle_key()
    _keep(request, {**facts, "factor": factor})


def end_all(user: User) -> None:
    """End every session of a person."""
    SignIn.objects.get_or_create(user=user)
    SignIn.objects.filter(user=user).update(sessions=F("sessions") + 1)


def end_others(request: HttpRequest, user: User) -> None:
    """End every session of a person but this one, which gets a new id."""
    facts = facts_of(request)
    assert facts is not None  # noqa: S101 - `check` has looked at every signed-in request
    end_all(user)
    request.session.cycle_key()
    _keep(request, {**facts, "sessions": _standing(user)["sessions"]})


def keep_after_password_change(request: HttpRequest, user: User) -> None:
    """Keep this session, in which the password was changed; every other one has ended."""
    auth.update_session_auth_hash(request, user)
    end_others(request, user)


class _Standing(TypedDict):
    sessions: int
    operator_by_sso: bool
    roles: str


def _standing(user: User) -> _Standing:
    """Read in one query what a session depends on."""
    rows: list[Any] = list(
        User.objects.filter(pk=user.pk).values_list(
            "sign_in__sessions",
            "sign_in__operator_by_sso",
            "memberships__tenant_id",
            "memberships__role",
        )
    )
    roles = sorted(f"{tenant}:{role}" for _, _, tenant, role in rows if tenant is not None)
    if is_operator(user):
        roles.append("operator")
    sessions, operator_by_sso = rows[0][:2] if rows else (0, False)
    return {
        "sessions": sessions or 0,
        "operator_by_sso": bool(operator_by_sso),
        "roles": " ".join(roles),
    }


def _is_over(user: User, facts: Facts, standing: _Standing, now: float) -> bool:
    return (
        now - facts["began"] > ABSOLUTE_S
        or facts["sessions"] != standing["sessions"]
        or (standing["operator_by_sso"] and not named_operator(user.email))
        or (facts["factor"] != "sso" and must_use_sso(user.email))
    )


def _new_facts(user: User, factor: Factor, now: float) -> Facts:
    standing = _standing(user)
    return {
        "began": now,
        "seen": now,
        "sessions": standing["sessions"],
        "factor": factor,
        "roles": standing["roles"],
    }


def _keep(request: HttpRequest, facts: Facts) -> None:
    request.session[_KEY] = facts
