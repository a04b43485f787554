"""Manage tenants with their projects and people."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from tenants.admin.base import ConsoleAdmin, Inline, Switchable, page_action, record
from tenants.admin.columns import ago, column
from tenants.admin.forms import NamesField, RecordField, number, switch, whole
from tenants.buckets import RUN_CEILING
from tenants.models import Member, Project, Tenant
from tenants.seats import seat_of
from tenants.signin import invitations

ON = {"active": "success", "off": "danger"}


class TenantForm(ModelForm[Tenant]):
    """A tenant with its defaults as plain inputs."""

    allowed_models = NamesField(
        label="Allowed models and routes", help_text="One name a line. Empty: everything."
    )
    cache = RecordField(
        {
            "enabled": switch(),
            "ttl": whole(at_least=1),
            "semantic": switch(),
            "threshold": number(max_value=1),
        },
        label="Answer cache",
        help_text="Off unless enabled. Seconds to live; similarity from 0 to 1.",
    )
    runs = RecordField(
        {"max_steps": whole(at_least=1), "max_seconds": whole(at_least=1)},
        label="Limits of an agent run",
        help_text=f"Steps and seconds of each run. What it may spend: the budget {RUN_CEILING}.",
    )


class ProjectInline(Inline):
    model = Project
    fields = ("name",)


class MemberInline(Inline):
    model = Member
    fields = ("email", "role")


@admin.register(Tenant)
class TenantAdmin(Switchable):
    """Customers: the top of everything that is isolated."""

    ordering = ("name",)
    tenant_path = "pk"
    form = TenantForm
    switch = "active"
    list_display = (
        "name",
        "state",
        "projects_count",
        "keys_count",
        "requests",
        "made",
        "from_file",
    )
    list_filter = ("active", "managed_by_file")
    search_fields = ("name",)
    actions_detail = ("clear_cache",)
    inlines: ClassVar[list[Any]] = [ProjectInline, MemberInline]
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("name", "active", "time_zone", "allowed_models")}),
        (
            "What is kept",
            {
                "fields": (
                    ("log_payloads", "payload_days", "operators_read_payloads"),
                    "retention_months",
                    "cache",
                    "single_flight",
                )
            },
        ),
        ("Safety", {"fields": ("runs",)}),
    )

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        rows: QuerySet[Tenant] = super().get_queryset(request)
        return rows.annotate(
            how_many_projects=Count("projects", distinct=True),
            how_many_keys=Count("keys", distinct=True),
        )

    @page_action("Clear answers", icon="mop")
    def clear_cache(self, request: HttpRequest, object_id: str) -> HttpResponse:
        tenant = self.get_object(request, object_id)
        if tenant is None:
            return self.back_to_list()
        if request.method != "POST":
            return self.confirm(
                request,
                tenant,
                title=f"Clear the answers kept for {tenant}",
                text="None of them is given again; in force within two seconds.",
                button="Clear them",
            )
        with transaction.atomic():
            row = Tenant.objects.select_for_update().get(pk=tenant.pk)
            row.cache_generation += 1
            row.save(update_fields=["cache_generation", "updated_at"])
        record(request, "cache cleared", tenant)
        messages.success(request, "No answer kept until now is given again.")
        return self.back_to(tenant)

    @column("state", order="active", labels=ON)
    def state(self, tenant: Tenant) -> str:
        return "active" if tenant.active else "off"

    @column("projects", order="how_many_projects")
    def projects_count(self, tenant: Any) -> int:
        return int(tenant.how_many_projects)

    @column("API keys", order="how_many_keys")
    def keys_count(self, tenant: Any) -> SafeString:
        return format_html(
            '<a class="text-link" href="../apikey/?tenant__id__exact={}">{}</a>',
            tenant.pk,
            tenant.how_many_keys,
        )

    @column("traffic")
    def requests(self, tenant: Tenant) -> SafeString:
        return format_html(
            '<a class="text-link" href="/admin/?tenant={}">overview</a>', tenant.name
        )

    @column("created", order="created_at")
    def made(self, tenant: Tenant) -> str:
        return ago(tenant.created_at)


@admin.register(Project)
class ProjectAdmin(ConsoleAdmin):
    """Parts of a tenant, with budgets and limits of their own."""

    tenant_path = "tenant_id"
    list_display = ("name", "tenant", "made", "from_file")
    list_filter = (("tenant", AutocompleteSelectFilter), "managed_by_file")
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name")
    autocomplete_fields = ("tenant",)
    fields = ("tenant", "name")

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # Its keys, budgets and log rows stay with the tenant they were made in.
        return ("tenant",) if obj else ()

    @column("created", order="created_at")
    def made(self, project: Project) -> str:
        return ago(project.created_at)


def _is_oneself(request: HttpRequest, member: Member | None) -> bool:
    """Say whether a row is who asks: nobody changes their own role, or removes themselves."""
    seat = seat_of(request)
    return seat is not None and member is not None and seat.member_id == member.pk


ROLES: Mapping[str, str] = {"owner": "danger", "admin": "warning", "member": "info"}


@admin.register(Member)
class MemberAdmin(ConsoleAdmin):
    """People of tenants and what they may do there."""

    tenant_path = "tenant_id"
    list_display = ("email", "tenant", "role_label", "user", "from_file")
    list_filter = (("tenant", AutocompleteSelectFilter), "role", "managed_by_file")
    list_select_related = ("tenant", "user")
    search_fields = ("email", "tenant__name")
    autocomplete_fields = ("tenant", "user")
    fields = ("tenant", "email", "role", "user")
    actions_detail = ("invite",)

    @page_action("Invite", icon="mail")
    def invite(self, request: HttpRequest, object_id: str) -> HttpResponse:
        member = self.get_object(request, object_id)
        if member is None:
            return self.back_to_list()
        if request.method != "POST":
            return self.confirm(
                request,
                member,
                title=f"Invite {member.email}",
                text="By a link this person chooses a password and signs in.",
                button="Invite",
            )
        seat = seat_of(request)
        by_operator = seat is not None and seat.operator
        try:
            if not by_operator:
                invitations.check_may_mail(seat.role if seat else None, member, timezone.now())
            path = invitations.invite(member)
        except invitations.NotInvitedError as error:
            messages.error(request, str(error))
            return self.back_to(member)
        record(request, "invited", member)
        link = request.build_absolute_uri(path)
        return (
            self._shown(request, member, link)
            if by_operator
            else self._mailed(request, member, link)
        )

    def _mailed(self, request: HttpRequest, member: Member, link: str) -> HttpResponse:
        """Send the link without showing it: who invites must not become who is invited."""
        if invitations.mail(member, link):
            messages.success(request, f"The invitation was mailed to {member.email}.")
        else:
            messages.error(request, "The mail server did not take the invitation: try again.")
        return self.back_to(member)

    def _shown(self, request: HttpRequest, member: Member, link: str) -> HttpResponse:
        context = self.page_context(request, member, f"Invitation of {member.email}")
        context |= {"link": link, "mailed": invitations.mail(member, link)}
        # No redirect: nothing has to remember the link.
        return TemplateResponse(request, "admin/console/invitation.html", context)

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and not _is_oneself(request, obj)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not _is_oneself(request, obj)

    @column("role", order="role", labels=ROLES)
    def role_label(self, member: Member) -> str:
        return member.role
