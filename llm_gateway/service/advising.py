"""Make the page of advice, in the portal and in the console: what would save money, and who may.

What is not followed with a click says why, and leads to where it is done by hand.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from msgspec import Struct

from llm_gateway.configuration.following import (
    FollowError,
    follow,
    followed,
    kind_of,
    may_follow,
    take_back,
)
from llm_gateway.insight.advice import Advice, advise
from llm_gateway.insight.observed import observe
from llm_gateway.service import process
from llm_gateway.service.visible import callable_deployments
from tenants.auth import load_caller_of
from tenants.models import Tenant
from tenants.rights import Role
from tenants.seats import Seat
from tenants.types import short_usd

_BUTTONS = {
    "cache_answers": (
        "Switch the cache on",
        "For all models of the tenant, for an hour. It can be taken back here.",
    ),
    "unused_key": (
        "End the key now",
        "Whoever calls with it is refused. It can be taken back here: the value stays the same.",
    ),
}
_BY_HAND = {
    "cheaper_model": "Not with a click: another model answers otherwise, which no price can tell."
    " Compare them side by side, then ask for the other one by its name.",
    "cache_prompts": "Not with a click: only whoever writes the prompt knows where it begins to"
    " differ. Mark the end of what is the same in these requests.",
}
# To what is done by hand, with the least role that may look there.
_LEADS: Mapping[str, Role] = {"cheaper_model": "member", "cache_prompts": "viewer"}
_NOT_YOURS = "Not by you: an {} may do it."


class Shown(Struct, frozen=True, kw_only=True):
    """One piece of advice: with a `button`, or without one and why, and where it is done."""

    one: Advice
    saving: str
    button: str
    told: str
    href: str
    link: str


def advice_page(seat: Seat, tenant: Tenant, now: datetime) -> dict[str, Any]:
    """Return what the page shows. Reads the log of 7 days in the calling thread."""
    observed = observe(tenant.pk, now)
    found = advise(observed, _deployments(tenant), now.date())
    return {
        "seat": seat,
        "tenant": tenant,
        "since": observed.since,
        "found": [_shown(one, seat) for one in found],
        "sum": short_usd(sum(one.saving_nano for one in found)),
        "followed": [
            (one, one.stands and may_follow(seat, kind_of(tenant, one.id)))
            for one in (followed(tenant) if seat.reaches("admin") else [])
        ],
    }


def obey(seat: Seat, tenant: Tenant, said: Mapping[str, Any], now: datetime) -> None:
    """Follow what a form of that page names, or take it back.

    Raises FollowError with a sentence, PermissionError for who may not.
    """
    event = said.get("event", "")
    if event and not (event.isdecimal() and event.isascii() and len(event) < 19):  # noqa: PLR2004 - a column
        raise FollowError("event: that is no number of one.")
    kind = kind_of(tenant, int(event)) if event else said.get("kind", "")
    if kind not in _BUTTONS:
        raise FollowError("kind: this advice is not followed with a click.")
    if not may_follow(seat, kind):
        raise PermissionError
    if event:
        take_back(tenant, int(event), actor=seat.person)
    else:
        follow(tenant, kind, said.get("subject", ""), actor=seat.person, now=now)


def _deployments(tenant: Tenant) -> list[Any]:
    """Return what the tenant may call; nothing in a process that serves no callers."""
    runtime, caller = process.current(), load_caller_of(tenant)
    if runtime is None or caller is None:
        return []
    return callable_deployments(runtime.snapshot.current.configuration, caller)


def _shown(one: Advice, seat: Seat) -> Shown:
    button, told = _BUTTONS.get(one.kind, ("", _BY_HAND.get(one.kind, "")))
    if button and not may_follow(seat, one.kind):
        button, told = "", _NOT_YOURS.format("owner" if one.kind == "cache_answers" else "admin")
    href, link = _where(one) if seat.reaches(_LEADS.get(one.kind)) else ("", "")
    return Shown(
        one=one,
        saving=short_usd(one.saving_nano),
        button=button,
        told=told,
        href=href,
        link=link,
    )


def _where(one: Advice) -> tuple[str, str]:
    if one.kind == "cheaper_model":
        names = [("model", one.subject), ("model", one.figures["model"])]
        return f"{reverse('admin:playground')}?{urlencode(names)}", "Compare them"
    listed = reverse("admin:llm_gateway_requestlog_changelist")
    return f"{listed}?{urlencode({'model': one.subject})}", "These requests"
