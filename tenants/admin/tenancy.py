"""Manage tenants with their projects and people."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from tenants.admin.base import ConsoleAdmin, Inline, Switchable
from tenants.admin.columns import ago, column
from tenants.admin.forms import NamesField, RecordField, amount, number, switch, whole
from tenants.models import Member, Project, Tenant

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
        {"budget": amount(), "max_steps": whole(at_least=1), "max_seconds": whole(at_least=1)},
        label="Limits of an agent run",
        help_text="Budget in US dollars, steps and seconds of each run.",
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
    inlines: ClassVar[list[Any]] = [ProjectInline, MemberInline]
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("name", "active", "time_zone", "allowed_models")}),
        ("What is kept", {"fields": ("log_payloads", "cache", "single_flight")}),
        ("Safety", {"fields": ("runs", "guardrails")}),
    )

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        rows: QuerySet[Tenant] = super().get_queryset(request)
        return rows.annotate(
            how_many_projects=Count("projects", distinct=True),
            how_many_keys=Count("keys", distinct=True),
        )

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


ROLES: Mapping[str, str] = {"owner": "danger", "admin": "warning", "member": "info"}


@admin.register(Member)
class MemberAdmin(ConsoleAdmin):
    """People of tenants and what they may do there."""

    list_display = ("email", "tenant", "role_label", "user", "from_file")
    list_filter = (("tenant", AutocompleteSelectFilter), "role", "managed_by_file")
    list_select_related = ("tenant", "user")
    search_fields = ("email", "tenant__name")
    autocomplete_fields = ("tenant", "user")
    fields = ("tenant", "email", "role", "user")

    @column("role", order="role", labels=ROLES)
    def role_label(self, member: Member) -> str:
        return member.role
