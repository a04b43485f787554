"""What people type when they sign in or change how they do."""

from typing import Any, ClassVar

from django import forms
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from unfold.widgets import (
    UnfoldAdminEmailInputWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
)


def _password(autocomplete: str) -> forms.CharField:
    widget = UnfoldAdminPasswordWidget({"autocomplete": autocomplete})
    return forms.CharField(label="Password", strip=False, max_length=4096, widget=widget)


class SignInForm(forms.Form):
    """User name and password."""

    username = forms.CharField(
        label="User name or e-mail",
        max_length=254,
        widget=UnfoldAdminTextInputWidget({"autocomplete": "username", "autofocus": True}),
    )
    password = _password("current-password")


class EmailForm(forms.Form):
    """The e-mail of who forgot their password."""

    email = forms.EmailField(
        label="E-mail",
        max_length=254,
        widget=UnfoldAdminEmailInputWidget({"autocomplete": "email", "autofocus": True}),
    )


class CodeForm(forms.Form):
    """A code of the authenticator app, or a recovery code."""

    code = forms.CharField(
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            {"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}
        ),
    )


class Themed:
    """Give Django's own password forms the inputs of the console."""

    fields: ClassVar[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as Django's forms
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget = UnfoldAdminPasswordWidget(field.widget.attrs)


class NewPasswordForm(Themed, SetPasswordForm):  # type: ignore[type-arg] # generic only in the stubs
    """A first password, twice."""


class ChangePasswordForm(Themed, PasswordChangeForm):
    """A password in the place of one that is known."""
