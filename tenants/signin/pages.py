"""Draw the pages of signing in: the look of the console, without its scripts."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from unfold.settings import get_config

from tenants.signin.places import wanted


def page(
    request: HttpRequest, name: str, context: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """Return the page `sign_in/{name}.html`."""
    given = {"colors": get_config()["COLORS"], "oidc": settings.OIDC, "next": wanted(request)}
    return render(request, f"sign_in/{name}.html", given | (context or {}), status=status)


def wait_page(
    request: HttpRequest, name: str, context: dict[str, Any], wait_s: float
) -> HttpResponse:
    """Return the page with how long to wait before the next attempt."""
    seconds = max(1, round(wait_s + 0.5))
    context |= {"error": f"Too many attempts: try again in {seconds} seconds."}
    response = page(request, name, context, status=429)
    response["Retry-After"] = str(seconds)
    return response
