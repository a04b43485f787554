"""Sign in with a password and, where one is set up, a second factor; sign out."""

import logging
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters

from tenants.signin import second_factor, sessions
from tenants.signin.attempts import addresses, names
from tenants.signin.forms import CodeForm, SignInForm
from tenants.signin.pages import page, wait_page
from tenants.signin.places import address_of, home, wanted
from tenants.signin.rules import must_use_sso

log = logging.getLogger(__name__)

# Who has given a password and not yet a code; as long as it takes to find a telephone.
_PENDING, _PENDING_S = "sign_in_pending", 600
# One sentence whoever it was: nobody learns which names there are.
_WRONG = "This user name and password do not belong together."


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class SignInView(View):
    """Name and password."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return page(request, "password", {"form": SignInForm()})

    def post(self, request: HttpRequest) -> HttpResponse:
        form = SignInForm(request.POST)
        context: dict[str, Any] = {"form": form}
        if not form.is_valid():
            return page(request, "password", context, status=400)
        name = form.cleaned_data["username"].strip()
        if wait_s := _begin(request, name):
            log.warning("Sign-in: too many attempts from %s", address_of(request))
            return wait_page(request, "password", context, wait_s)
        user = None if must_use_sso(name) else _authenticate(request, name, form)
        if user is None or must_use_sso(user.email):
            context["error"] = _refusal(request, name, user)
            return page(request, "password", context, status=401)
        _forgive(request, name)
        if second_factor.is_set_up(user):
            _remember(request, user)
            return redirect("sign-in-code")
        sessions.begin(request, user, factor="", now=timezone.now().timestamp())
        return redirect(wanted(request) or home(user))


class CodeView(View):
    """The code of who has given their password."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if _pending(request) is None:
            return redirect("sign-in")
        return page(request, "code", {"form": CodeForm()})

    def post(self, request: HttpRequest) -> HttpResponse:
        user, form = _pending(request), CodeForm(request.POST)
        if user is None:
            return redirect("sign-in")
        context: dict[str, Any] = {"form": form}
        if not form.is_valid():
            return page(request, "code", context, status=400)
        asked = second_factor.ask(user, form.cleaned_data["code"])
        if asked.wait_s:
            return wait_page(request, "code", context, asked.wait_s)
        if not asked.right:
            log.warning("Sign-in: a wrong code for user %s", user.pk)
            return page(request, "code", context | {"error": "This code is wrong."}, status=401)
        goal = request.session.pop(_PENDING)["next"]
        sessions.begin(request, user, factor="app", now=timezone.now().timestamp())
        return redirect(goal or home(user))


class SignOutView(View):
    """End this session."""

    def post(self, request: HttpRequest) -> HttpResponse:
        auth.logout(request)
        return redirect("sign-in")


def _begin(request: HttpRequest, name: str) -> float:
    """Count an attempt; return the seconds to wait, 0 when it may be made."""
    now = timezone.now()
    return addresses.begin(address_of(request), now) or names.begin(name, now)


def _forgive(request: HttpRequest, name: str) -> None:
    addresses.forgive(address_of(request))
    names.forgive(name)


def _authenticate(request: HttpRequest, name: str, form: SignInForm) -> User | None:
    """Return the user; who does not exist costs the same hash as a wrong password."""
    known = User.objects.filter(username__iexact=name).values_list("username", flat=True)[:2]
    name = known[0] if len(known) == 1 else name
    user = auth.authenticate(request, username=name, password=form.cleaned_data["password"])
    return user if isinstance(user, User) else None


def _refusal(request: HttpRequest, name: str, user: User | None) -> str:
    """Log a refusal and return what is said of it; what was typed may be anything, a password."""
    if settings.OIDC is not None and (user is not None or must_use_sso(name)):
        log.warning("Sign-in: a password where single sign-on is due, from %s", address_of(request))
        return f"This address signs in with {settings.OIDC.name}."
    log.warning("Sign-in: a wrong name or password from %s", address_of(request))
    return _WRONG


def _remember(request: HttpRequest, user: User) -> None:
    """Note who still owes a code, in a session with a new id that is nobody's yet."""
    goal = wanted(request)
    request.session.flush()
    request.session[_PENDING] = {
        "user": user.pk,
        "until": timezone.now().timestamp() + _PENDING_S,
        "password": user.get_session_auth_hash(),
        "next": goal,
    }


def _pending(request: HttpRequest) -> User | None:
    pending = request.session.get(_PENDING)
    if pending is None or pending["until"] < timezone.now().timestamp():
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True).first()
    return user if user and user.get_session_auth_hash() == pending["password"] else None
