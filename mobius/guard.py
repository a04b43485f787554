"""Look at what a session asks before a view does: does it still count, may it change this.

The one place where an operator's second factor is asked for.
"""

import logging
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from llm_gateway.errors import AuthUnavailableError, GatewayError, SecondFactorNeededError
from mobius.headers import CONSOLE
from tenants.auth import brings_credential
from tenants.ids import new_id
from tenants.signin import sessions
from tenants.signin.pages import page
from tenants.signin.rules import console_is_set_up, is_operator

SIGN_IN, API, SIGN_OUT = "/sign-in/", "/api/", "/admin/logout/"
_SAFE = {"GET", "HEAD", "OPTIONS"}
_RETRY_AFTER_S = 2

log = logging.getLogger(__name__)


class Guard:
    """Middleware, after the one that knows the user."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], object]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> object:
        if self._is_async:
            return self._later(request)
        refused = _looked_at(request) if _is_of_a_person(request) else None
        return refused or self._get_response(request)

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        # Who calls with a key needs no thread for a question about sessions.
        if _is_of_a_person(request) and (refused := await sync_to_async(_looked_at)(request)):
            return refused
        response = self._get_response(request)
        assert isinstance(response, Awaitable)  # noqa: S101 - for the type checker
        answered: HttpResponseBase = await response
        return answered


def _is_of_a_person(request: HttpRequest) -> bool:
    return settings.SESSION_COOKIE_NAME in request.COOKIES or _is_of_the_console(request)


def _is_of_the_console(request: HttpRequest) -> bool:
    return request.path.startswith((CONSOLE, SIGN_IN))


def _looked_at(request: HttpRequest) -> HttpResponse | None:
    """Return why the request goes no further: also where nobody can tell whose session it is."""
    try:
        return _refusal(request)
    except Error as error:
        log.warning("A session could not be looked up: %s", type(error).__name__)
        return _unknown(request)


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """Return why the request goes no further; None when it does."""
    sessions.check(request, timezone.now().timestamp())
    if not request.user.is_authenticated:
        if _is_of_the_console(request) and not console_is_set_up():
            return page(request, "set_up", status=503)
        return None
    if _changes_something(request) and _lacks_second_factor(request):
        if request.path.startswith(API):
            return _lacking()
        return page(request, "second_factor_needed", status=403)
    return None


def _changes_something(request: HttpRequest) -> bool:
    if request.method in _SAFE or request.path == SIGN_OUT or request.path.startswith(SIGN_IN):
        return False
    # A key speaks for itself, whatever cookie comes along: no view of the API then looks at that.
    headers = {name.lower().encode(): value.encode() for name, value in request.headers.items()}
    return not (request.path.startswith(API) and brings_credential(headers))


def _lacks_second_factor(request: HttpRequest) -> bool:
    return (
        not settings.EMBEDDED
        and is_operator(request.user)
        and not sessions.has_second_factor(request)
    )


def _unknown(request: HttpRequest) -> HttpResponse:
    if request.path.startswith(API):
        return _problem(
            AuthUnavailableError("Sessions cannot be checked now.", retry_after_s=_RETRY_AFTER_S)
        )
    # No template: they ask who is signed in.
    text = "Nobody can be recognised now: the database does not answer. Try again in a moment.\n"
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    return HttpResponse(text, status=503, content_type="text/plain", headers=headers)


def _lacking() -> HttpResponse:
    return _problem(
        SecondFactorNeededError("Set a second factor up at /sign-in/mine/second-factor/ first.")
    )


def _problem(error: GatewayError) -> HttpResponse:
    # Imported on use: REST framework is not ready while middleware is.
    from llm_gateway.api.problems import problem  # noqa: PLC0415 - above

    return problem(error, new_id())
