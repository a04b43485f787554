"""Where a person comes from, and goes on to: where they wanted to, if that is here, or home."""

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from tenants.signin.rules import is_operator


def wanted(request: HttpRequest) -> str:
    """Return the local address that a form or link asks to go on to; "" for none or another."""
    asked = request.POST.get("next") or request.GET.get("next") or ""
    here = {request.get_host()}
    is_local = url_has_allowed_host_and_scheme(asked, here, require_https=request.is_secure())
    return asked if is_local else ""


def home(user: User) -> str:
    return reverse("admin:index") if is_operator(user) else "/"


def address_of(request: HttpRequest) -> str:
    """Return where a request comes from; behind a listed proxy, what that says."""
    return str(request.META.get("REMOTE_ADDR", ""))
