"""Show the money of a tenant, a meter for each bucket, and to operators that of all tenants.

Whoever is of a tenant sees their own, whatever the address says.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe

from llm_gateway.admin.money_states import states
from llm_gateway.configuration.following import FollowError
from llm_gateway.insight.meters import meters
from llm_gateway.insight.nearness import (
    WHOLE,
    Place,
    nearest_budgets,
    nearest_of,
    nearest_tenants,
    parse_place,
)
from llm_gateway.service.advising import advice_page, obey
from tenants.admin.columns import NOTHING, money
from tenants.admin.rules import is_theirs
from tenants.models import Budget, RaiseRequest, Tenant
from tenants.seats import Seat, seat_of

TENANTS, BUDGETS, DECIDED = 50, 25, 20
# Of a budget for each end user, run or value of a tag.
BUCKETS = 5


@require_safe
def money_page(request: HttpRequest) -> HttpResponse:
    seat, now = seat_of(request), timezone.now()
    if seat is None:
        raise PermissionDenied
    after, trouble = _after(request)
    context = {**admin.site.each_context(request), "seat": seat, "trouble": trouble}
    tenant = _tenant(seat, request.GET.get("tenant", ""))
    if tenant is None:
        context |= _of_all(after, now)
        return TemplateResponse(request, "admin/console/money.html", context)
    context |= _of_one(request, seat, tenant, after, now)
    return TemplateResponse(request, "admin/console/money_of.html", context)


def _after(request: HttpRequest) -> tuple[Place | None, str]:
    """Return behind what the page begins, and what is wrong with what was said of that."""
    try:
        return (parse_place(request.GET["after"]), "") if "after" in request.GET else (None, "")
    except ValueError as error:
        return None, f"{error}: this is the first page"


def _tenant(seat: Seat, name: str) -> Tenant | None:
    """Return whose money is shown; None are all. Raises Http404 for a name that nobody has."""
    if not seat.operator:
        return Tenant.objects.get(pk=seat.tenant_id or 0)
    if not name:
        return None
    tenant = Tenant.objects.filter(name=name).first()
    if tenant is None:
        raise Http404
    return tenant


# --- of all tenants ---------------------------------------------------------------------------


def _of_all(after: Place | None, now: datetime) -> dict[str, Any]:
    found = nearest_tenants(now, after=after, limit=TENANTS + 1)
    shown = found[:TENANTS]
    nearest = nearest_of(shown, now)
    return {
        "title": "Money",
        "states": states(now),
        "table": {
            "headers": ["tenant", "nearest its limit", "used of it", "raises asked for"],
            "rows": [_row(tenant, nearest.get(tenant.pk)) for tenant in shown],
        },
        **_further(found, TENANTS),
    }


def _row(tenant: Any, nearest: Any) -> list[Any]:
    return [
        format_html('<a class="text-link" href="{}">{}</a>', address(tenant), tenant),
        _filled(nearest) if nearest else "no limit",
        _amounts(nearest) if nearest else NOTHING,
        tenant.waiting or "",
    ]


def _filled(budget: Any) -> str:
    share = budget.near / WHOLE
    return format_html(
        '<meter min="0" max="1" low="0.8" high="0.95" optimum="0" value="{}" aria-label="{}">'
        "</meter> {} {}",
        f"{min(share, 1):.3f}",
        f"{budget.name}: part of the limit used",
        f"{math.floor(share * 100)}%",  # what is not reached is not all of it
        budget.name,
    )


def _amounts(budget: Any) -> str:
    return f"{money(budget.spent_nano)} of {money(budget.limit_now)}"


def address(tenant: Tenant, page: str = "money") -> str:
    """Return where the money of a tenant is shown, or another page of it."""
    return f"{reverse(f'admin:{page}')}?{urlencode({'tenant': tenant.name})}"


# --- of one -----------------------------------------------------------------------------------


def _of_one(
    request: HttpRequest, seat: Seat, tenant: Tenant, after: Place | None, now: datetime
) -> dict[str, Any]:
    found = nearest_budgets(tenant.pk, now, after=after, limit=BUDGETS + 1)
    shown = {budget.pk: budget for budget in found[:BUDGETS]}
    return {
        "title": f"Money of {tenant}",
        "tenant": tenant,
        "back": address(tenant),
        "advice": address(tenant, page="money-advice"),
        "may_ask": not seat.operator and seat.reaches("member"),
        "meters": [
            (one, _raise_page(request, shown[one.id]))
            for one in meters(tenant.pk, shown.values(), now, most=BUCKETS)
        ],
        "buckets": BUCKETS,
        **_raises(request, seat, tenant, now),
        **_further(found, BUDGETS, tenant=tenant.name),
    }


def _raise_page(request: HttpRequest, budget: Budget) -> str:
    """Return where this person raises a budget themselves; '' where they may only ask."""
    name = "tenants_budget_raise_limit"
    if not (_may(request, name) and is_theirs(request, budget)) or budget.limit_nano is None:
        return ""
    return reverse(f"admin:{name}", args=[budget.pk])


def _raises(request: HttpRequest, seat: Seat, tenant: Tenant, now: datetime) -> dict[str, Any]:
    if not seat.reaches("member"):
        return {}
    rows = RaiseRequest.objects.of(tenant).select_related("budget__tenant")
    waiting = rows.filter(state=RaiseRequest.State.OPEN).order_by("pk")[:DECIDED]
    decided = rows.exclude(state=RaiseRequest.State.OPEN)[:DECIDED]
    return {
        "waiting": [(one, _may_decide(request, one)) for one in waiting],
        "decided": _decided(decided, now),
    }


def _decided(rows: Iterable[RaiseRequest], now: datetime) -> dict[str, Any] | None:
    told = [
        [
            one.budget.name,
            one.asked_by,
            money(one.amount_nano),
            f"{one.until:%Y-%m-%d %H:%M}",
            one.reason,
            _outcome(one, now),
            one.decided_by,
        ]
        for one in rows
    ]
    headers = ["budget", "asked by", "more", "until (UTC)", "what for", "state", "decided by"]
    return {"headers": headers, "rows": told} if told else None


def _may_decide(request: HttpRequest, asked: RaiseRequest) -> bool:
    return _may(request, "tenants_raiserequest_approve") and is_theirs(request, asked.budget)


def _may(request: HttpRequest, name: str) -> bool:
    return bool(admin.site.may_act(request, name))  # type: ignore[attr-defined] # the console's


def _outcome(asked: RaiseRequest, now: datetime) -> str:
    """Return what became of a raise: a later one takes the place of one that holds."""
    if asked.state != RaiseRequest.State.APPROVED:
        return str(asked.state)
    if asked.until <= now:
        return "approved, over"
    budget = asked.budget
    holds = (budget.raise_nano, budget.raise_until) == (asked.amount_nano, asked.until)
    return "in force" if holds else "approved, replaced"


def _further(found: list[Any], size: int, **kept: str) -> dict[str, str]:
    """Return the address of the next page, if there is one."""
    if len(found) <= size:
        return {"next": "", "first": "?" + urlencode(kept)}
    last = found[size - 1]
    further = urlencode({**kept, "after": Place(last.near, last.pk)})
    return {"next": f"?{further}", "first": "?" + urlencode(kept)}


# --- advice -----------------------------------------------------------------------------------


@require_safe
def advice(request: HttpRequest) -> HttpResponse:
    """Show what would have saved a tenant money in the last 7 days.

    That is counted in the log, so the page comes at once and asks for it as a part.
    """
    seat = seat_of(request)
    tenant = _tenant(seat, request.GET.get("tenant", "")) if seat else None
    if seat is None or tenant is None:
        return redirect("admin:money")  # advice is for one
    if "HX-Request" in request.headers:
        found = advice_page(seat, tenant, timezone.now())
        return TemplateResponse(request, "admin/console/money_advised.html", found)
    title = {"title": f"What would save {tenant} money", "part": address(tenant, "money-advice")}
    context = admin.site.each_context(request) | title
    return TemplateResponse(request, "admin/console/money_advice.html", context)


@require_POST
def follow_advice(request: HttpRequest) -> HttpResponse:
    """Follow a piece of it, or take back what was followed."""
    seat = seat_of(request)
    tenant = _tenant(seat, request.POST.get("tenant", "")) if seat else None
    if seat is None or tenant is None:
        raise Http404
    try:
        obey(seat, tenant, request.POST, timezone.now())
    except PermissionError:
        raise PermissionDenied from None
    except FollowError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Done: in force within two seconds.")
    return redirect(address(tenant, "money-advice"))
