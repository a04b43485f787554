"""Take an invitation: choose a password and be signed in."""

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from typing_extensions import override

from tenants import audit
from tenants.models import Member
from tenants.signin import sessions
from tenants.signin.forms import NewPasswordForm
from tenants.signin.invitations import tokens
from tenants.signin.pages import page
from tenants.signin.places import home
from tenants.signin.rules import must_use_sso


class InvitationView(PasswordResetConfirmView):
    """Django's page of a link: it moves the token out of the address before anything is shown."""

    form_class = NewPasswordForm
    token_generator = tokens
    http_method_names = ["get", "post"]

    @override
    def get_user(self, uidb64: str) -> User | None:
        user = super().get_user(uidb64)
        if not isinstance(user, User) or not user.is_active or must_use_sso(user.email):
            return None
        # Who takes the member away again takes the invitation back.
        return user if Member.all_tenants_unsafe.filter(user=user).exists() else None

    @override
    def form_valid(self, form: Any) -> HttpResponse:
        user = form.save()
        request: HttpRequest = self.request
        audit.record(user.get_username(), "invitation taken", user)
        sessions.begin(request, user, factor="", now=timezone.now().timestamp())
        return redirect(home(user))

    @override
    def render_to_response(self, context: dict[str, Any], **response_kwargs: Any) -> HttpResponse:
        del response_kwargs
        if not context["validlink"]:
            return page(self.request, "invitation_over", status=410)
        given = {
            "form": context["form"],
            "title": "Choose your password",
            "text": f"For {self.user}. You are signed in with it at once.",
            "button": "Go on",
        }
        return page(
            self.request, "invitation", given, status=400 if context["form"].errors else 200
        )
