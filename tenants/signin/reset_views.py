"""Ask for a link to choose a new password by, and take it."""

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.urls import reverse_lazy
from django.utils import timezone
from django.views import View
from typing_extensions import override

from tenants import audit
from tenants.signin import resets, sessions
from tenants.signin.attempts import addresses, letters
from tenants.signin.forms import EmailForm, NewPasswordForm
from tenants.signin.pages import page, wait_page
from tenants.signin.places import address_of
from tenants.signin.rules import must_use_sso

log = logging.getLogger(__name__)


class ForgottenView(View):
    """Say who one is; the answer is the same whoever that is."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return page(request, "forgotten", _asking(EmailForm()))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = EmailForm(request.POST)
        if not (settings.MAIL_IS_SET and form.is_valid()):
            return page(request, "forgotten", _asking(form), status=400)
        email, now = form.cleaned_data["email"], timezone.now()
        if wait_s := addresses.begin(address_of(request), now) or letters.begin(email, now):
            log.warning("Sign-in: too many letters asked for from %s", address_of(request))
            return wait_page(request, "forgotten", _asking(form), wait_s)
        if settings.OIDC is not None and must_use_sso(email):
            error = f"This address signs in with {settings.OIDC.name}."
            return page(request, "forgotten", _asking(form) | {"error": error}, status=403)
        resets.send_link(email, request.build_absolute_uri("/").rstrip("/"))
        return page(request, "forgotten_sent")


class ResetView(PasswordResetConfirmView):
    """Django's page of a link: it moves the token out of the address before anything is shown."""

    form_class = NewPasswordForm
    token_generator = resets.tokens
    http_method_names = ["get", "post"]
    success_url = reverse_lazy("sign-in")

    @override
    def get_user(self, uidb64: str) -> User | None:
        user = super().get_user(uidb64)
        return user if isinstance(user, User) and resets.may_reset(user) else None

    @override
    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        sessions.end_all(form.user)
        audit.record(form.user.get_username(), "password reset", form.user)
        # Not signed in by it: who has a second factor is asked for that as ever.
        messages.success(self.request, "Your password is changed: sign in with it.")
        return response

    @override
    def render_to_response(self, context: dict[str, Any], **response_kwargs: Any) -> HttpResponse:
        del response_kwargs
        if not context["validlink"]:
            return page(self.request, "reset_over", status=410)
        given = {
            "form": context["form"],
            "title": "Choose a new password",
            "text": f"For {self.user}. All your sessions end; then sign in with it.",
            "button": "Change it",
        }
        return page(
            self.request, "invitation", given, status=400 if context["form"].errors else 200
        )


def _asking(form: EmailForm) -> dict[str, Any]:
    return {"form": form, "mail_is_set": settings.MAIL_IS_SET}
