"""My sign-in: password, second factor and sessions of whoever is signed in."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters
from typing_extensions import override

from tenants import audit
from tenants.signin import second_factor, sessions
from tenants.signin.attempts import names
from tenants.signin.forms import ChangePasswordForm, CodeForm
from tenants.signin.pages import page, wait_page
from tenants.signin.places import home
from tenants.signin.rules import must_use_sso


class OwnView(LoginRequiredMixin, View):
    """A page about the person who is signed in."""

    def person(self) -> User:
        assert isinstance(self.request.user, User)  # noqa: S101 - nobody else gets here
        return self.request.user


class MineView(OwnView):
    """What there is, and where to change it."""

    def get(self, request: HttpRequest) -> HttpResponse:
        user = self.person()
        facts = sessions.facts_of(request)
        context = {
            "home": home(user),
            "has_password": user.has_usable_password() and not must_use_sso(user.email),
            "has_app": second_factor.is_set_up(user),
            "codes_left": second_factor.recovery_codes_left(user),
            "by_sso": facts is not None and facts["factor"] == "sso",
        }
        return page(request, "mine", context)


@method_decorator(sensitive_post_parameters(), name="dispatch")
class PasswordView(OwnView):
    """A new password for an old one; all other sessions end."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not self.person().has_usable_password() or must_use_sso(self.person().email):
            return redirect("sign-in-mine")
        return page(request, "form", _password_page(ChangePasswordForm(self.person())))

    def post(self, request: HttpRequest) -> HttpResponse:
        user = self.person()
        form = ChangePasswordForm(user, request.POST)
        # Who found an open session guesses the password no faster than anybody else.
        if wait_s := names.begin(user.get_username(), timezone.now()):
            return wait_page(request, "form", _password_page(form), wait_s)
        if must_use_sso(user.email) or not form.is_valid():
            return page(request, "form", _password_page(form), status=400)
        names.forgive(user.get_username())
        form.save()
        sessions.keep_after_password_change(request, user)
        audit.record(user.get_username(), "password", user)
        messages.success(request, "Your password is changed; your other sessions have ended.")
        return redirect("sign-in-mine")


class SecondFactorView(OwnView):
    """Set an authenticator app up; who has one proves it first."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return page(request, "second_factor", self._context())

    def post(self, request: HttpRequest) -> HttpResponse:
        user, form = self.person(), CodeForm(request.POST)
        context = self._context() | {"form": form}
        if not form.is_valid():
            return page(request, "second_factor", context, status=400)
        if second_factor.is_set_up(user) and not sessions.has_second_factor(request):
            return page(request, "second_factor", context | _SIGN_IN_ANEW, status=403)
        asked = second_factor.confirm(user, form.cleaned_data["code"])
        if asked.wait_s:
            return wait_page(request, "second_factor", context, asked.wait_s)
        if not asked.right:
            return page(request, "second_factor", context | _WRONG_CODE, status=400)
        sessions.end_others(request, user)
        sessions.set_factor(request, "app")
        audit.record(user.get_username(), "second factor set up", user)
        codes = second_factor.new_recovery_codes(user)
        return page(request, "recovery_codes", {"codes": codes, "home": home(user)})

    def _context(self) -> dict[str, Any]:
        return {"form": CodeForm(), "set_up": second_factor.begin(self.person())}


class ProvenView(OwnView):
    """Something only who has the app, or a recovery code, may do."""

    title = button = text = ""

    def get(self, request: HttpRequest) -> HttpResponse:
        return page(request, "form", self._context(CodeForm()))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST)
        context = self._context(form)
        if not form.is_valid():
            return page(request, "form", context, status=400)
        asked = second_factor.ask(self.person(), form.cleaned_data["code"])
        if asked.wait_s:
            return wait_page(request, "form", context, asked.wait_s)
        if not asked.right:
            return page(request, "form", context | _WRONG_CODE, status=400)
        return self.proven(request, self.person())

    def proven(self, request: HttpRequest, user: User) -> HttpResponse:
        raise NotImplementedError

    def _context(self, form: CodeForm) -> dict[str, Any]:
        return {"form": form, "title": self.title, "text": self.text, "button": self.button}


class RemoveSecondFactorView(ProvenView):
    """Do without an authenticator app."""

    title, button = "Do without the authenticator app", "Remove it"
    text = "A code of the app, or a recovery code, shows that it is yours to remove."

    @override
    def proven(self, request: HttpRequest, user: User) -> HttpResponse:
        second_factor.remove(user)
        sessions.end_others(request, user)
        sessions.set_factor(request, "")
        audit.record(user.get_username(), "second factor removed", user)
        messages.success(request, "The app is no longer asked for.")
        return redirect("sign-in-mine")


class RecoveryCodesView(ProvenView):
    """New recovery codes in the place of the old ones."""

    title, button = "New recovery codes", "Make new codes"
    text = "The old ones stop working. A code of your authenticator app first:"

    @override
    def proven(self, request: HttpRequest, user: User) -> HttpResponse:
        audit.record(user.get_username(), "recovery codes made", user)
        codes = second_factor.new_recovery_codes(user)
        return page(request, "recovery_codes", {"codes": codes, "home": home(user)})


class ElsewhereView(OwnView):
    """Sign out everywhere else."""

    def post(self, request: HttpRequest) -> HttpResponse:
        sessions.end_others(request, self.person())
        audit.record(self.person().get_username(), "signed out elsewhere", self.person())
        messages.success(request, "All your other sessions have ended.")
        return redirect("sign-in-mine")


_WRONG_CODE = {"error": "This code is wrong."}
_SIGN_IN_ANEW = {"error": "Sign in again, with a code of the app you have now."}


def _password_page(form: ChangePasswordForm) -> dict[str, Any]:
    return {"form": form, "title": "Change your password", "button": "Change it"}
