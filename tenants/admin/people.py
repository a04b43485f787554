"""Manage who may sign in to the console."""

from http import HTTPStatus
from typing import ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from typing_extensions import override
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from tenants.admin.base import ConsoleAdmin, page_action, record
from tenants.admin.columns import ago, column
from tenants.signin import people, second_factor, sessions

admin.site.unregister(User)
admin.site.unregister(Group)
# They would show secrets, and let them be given.
admin.site.unregister(TOTPDevice)
admin.site.unregister(StaticDevice)


@admin.register(User)
class UserAdmin(ConsoleAdmin, DjangoUserAdmin):  # type: ignore[type-arg] # generic only in the stubs
    """People who sign in; only active superusers on the staff see the console."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "active", "operator", "seen")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("username", "email")
    filter_horizontal: ClassVar[tuple[str, ...]] = ()
    actions_detail = ("forget_sign_in",)

    @page_action("Remove second factor", icon="phonelink_erase")
    def forget_sign_in(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Help who lost their telephone, or whose address moved to another person."""
        user = self.get_object(request, object_id)
        if user is None:
            return self.back_to_list()
        if request.method != "POST":
            return self.confirm(
                request,
                user,
                title=f"Remove the second factor of {user}",
                text="App, recovery codes and the link to single sign-on are forgotten; all their"
                " sessions end. Their password stays. Be sure who asks you for it.",
                button="Remove them",
            )
        second_factor.remove(user)
        people.unlink(user)
        sessions.end_all(user)
        record(request, "second factor removed", user)
        messages.success(request, f"{user} signs in anew, and sets a second factor up again.")
        return self.back_to(user)

    @override
    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        response = super().user_change_password(request, id, form_url)
        if response.status_code == HTTPStatus.FOUND:
            record(request, "password", self.get_object(request, unquote(id)))
        return response

    @column("active", order="is_active", labels={"yes": "success", "no": "danger"})
    def active(self, user: User) -> str:
        return "yes" if user.is_active else "no"

    @column("operator", order="is_superuser", labels={"yes": "info"})
    def operator(self, user: User) -> str:
        return "yes" if user.is_superuser and user.is_staff else ""

    @column("last login", order="last_login")
    def seen(self, user: User) -> str:
        return ago(user.last_login)


@admin.register(Group)
class GroupAdmin(ConsoleAdmin, DjangoGroupAdmin):
    """Django's groups of permissions."""

    search_fields = ("name",)
    filter_horizontal: ClassVar[tuple[str, ...]] = ()
