"""Send people to the identity provider and take them back."""

import logging
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views import View
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)
from typing_extensions import override

from tenants.signin import sessions
from tenants.signin.forms import SignInForm
from tenants.signin.issuer import IssuerError, RefusedError, issuer
from tenants.signin.pages import page
from tenants.signin.people import UnknownPersonError
from tenants.signin.places import home
from tenants.signin.sso import CALLBACK

log = logging.getLogger(__name__)


class SsoView(View):
    """Go to the provider."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        _check_is_configured()
        try:
            there: HttpResponseBase = _There.as_view()(request)
        except IssuerError as error:
            return _away(request, error)
        return there


class SsoCallbackView(View):
    """Come back from it, with a code or not."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        _check_is_configured()
        if not ("code" in request.GET and "state" in request.GET):
            return _refused(request, "The provider has not signed you in.")
        try:
            back: HttpResponseBase = _Back.as_view()(request)
        except IssuerError as error:
            return _away(request, error)
        except UnknownPersonError as error:
            return _refused(request, str(error))
        except (RefusedError, SuspiciousOperation) as error:
            log.warning("Sign-in: single sign-on refused: %s", error)
            return _refused(request, "This answer of the provider proves nothing: try again.")
        return back


class _There(OIDCAuthenticationRequestView):  # type: ignore[misc] # the library is not typed
    """State, nonce and PKCE are the library's."""

    @staticmethod
    @override
    def get_settings(attr: str, *args: Any) -> Any:
        assert settings.OIDC is not None  # noqa: S101 - asked before
        ours = {
            "OIDC_RP_CLIENT_ID": settings.OIDC.client_id,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": issuer().addresses().authorization_endpoint,
            "OIDC_AUTHENTICATION_CALLBACK_URL": CALLBACK,
            "OIDC_USE_PKCE": True,
        }
        return ours[attr] if attr in ours else args[0]


class _Back(OIDCAuthenticationCallbackView):  # type: ignore[misc] # the library is not typed
    """Each state is good once; who it was is asked of `SsoBackend`."""

    @override
    def login_success(self) -> HttpResponse:
        goal = self.request.session.get("oidc_login_next")
        sessions.begin(self.request, self.user, factor="sso", now=timezone.now().timestamp())
        return redirect(goal or home(self.user))

    @override
    def login_failure(self) -> HttpResponse:
        raise RefusedError("It was not begun in this browser.")


def _check_is_configured() -> None:
    if settings.OIDC is None:
        raise Http404


def _refused(request: HttpRequest, text: str) -> HttpResponse:
    return page(request, "password", {"form": SignInForm(), "error": text}, status=401)


def _away(request: HttpRequest, error: IssuerError) -> HttpResponse:
    log.error("Sign-in: %s", error)
    text = "The identity provider cannot be asked now. Nobody was signed in."
    return page(request, "password", {"form": SignInForm(), "error": text}, status=503)
