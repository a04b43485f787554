"""Issue, rotate and revoke API keys; a secret is in one answer and nowhere else."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget

from llm_gateway.admin.waits import waits
from llm_gateway.models import KeyTimeouts, Model
from llm_gateway.snippets import snippets
from tenants import audit, keys
from tenants.admin.base import ConsoleAdmin, Inline, page_action, record
from tenants.admin.columns import NOTHING, ago, column
from tenants.admin.forms import ChoicesField, NamesField
from tenants.models import ApiKey, default_scopes

SCOPES = ("inference", "manage", "usage")  # in the order in which they are kept
SHOWN = ("public_id", "starts_with", "old_secret", "state", "used", "revoked")


GRACES = ((0, "at once"), (3600, "in 1 hour"), (86_400, "in 24 hours"), (604_800, "in 7 days"))


class RotateForm(forms.Form):
    """For how long the secret before stays good."""

    grace = forms.TypedChoiceField(
        label="The old secret ends",
        choices=GRACES,
        coerce=int,
        widget=UnfoldAdminSelectWidget(),
        help_text="Until then both work; revoking the key ends both at once.",
    )


class ApiKeyForm(ModelForm[ApiKey]):
    """What a person decides of a key; its value is made by us."""

    scopes = ChoicesField(SCOPES, initial=default_scopes, required=True)
    allowed_models = NamesField(
        label="Allowed models and routes",
        help_text="One name a line. Empty: whatever the tenant may call.",
    )

    class Meta:
        model = ApiKey
        fields = ("tenant", "project", "name", "holder", "scopes", "allowed_models", "expires_at")

    @override
    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        tenant = values.get("tenant") or (self.instance.tenant if self.instance.tenant_id else None)
        project = values.get("project")
        if project and tenant and project.tenant_id != tenant.pk:
            self.add_error("project", "This project belongs to another tenant.")
        holder = values.get("holder")
        if holder and tenant and holder.tenant_id != tenant.pk:
            self.add_error("holder", "This person belongs to another tenant.")
        return values


class TimeoutsForm(ModelForm[KeyTimeouts]):
    """What is at most waited for, as plain inputs."""

    timeouts = waits()


class TimeoutsInline(Inline):
    model = KeyTimeouts
    form = TimeoutsForm
    fields = ("timeouts",)
    max_num = 1
    tab = False
    show_change_link = False


@admin.register(ApiKey)
class ApiKeyAdmin(ConsoleAdmin):
    """Credentials of tenants: only digest and beginning are kept."""

    tenant_path = "tenant_id"
    form = ApiKeyForm
    list_display = (
        "name",
        "tenant",
        "project",
        "state",
        "starts_with",
        "scope_list",
        "used",
        "ends",
        "from_file",
    )
    list_filter = (("tenant", AutocompleteSelectFilter), "managed_by_file")
    list_select_related = ("tenant", "project")
    search_fields = ("name", "public_id", "prefix", "tenant__name", "project__name")
    autocomplete_fields = ("tenant", "project", "holder")
    actions = ("revoke_selected",)
    actions_detail = ("rotate", "revoke")
    inlines: ClassVar[list[Any]] = [TimeoutsInline]
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ApiKeyForm.Meta.fields}),
        ("Credential", {"fields": SHOWN}),
    )
    add_fieldsets: ClassVar[tuple[Any, ...]] = ((None, {"fields": ApiKeyForm.Meta.fields}),)

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        found = super().get_readonly_fields(request, obj)
        return ("tenant", *SHOWN, *found) if obj else found

    # --- making -----------------------------------------------------------------------------

    @override
    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if not change:
            form.secret = keys.issue(obj)
        super().save_model(request, obj, form, change)

    @override
    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        # Handed to `response_add` by the request, which ends with the answer.
        request.issued = getattr(form, "secret", None)  # type: ignore[attr-defined] # ours

    @override
    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: Any = None) -> Any:
        return self._reveal(request, obj, request.issued)  # type: ignore[attr-defined] # set above

    def _reveal(self, request: HttpRequest, key: ApiKey, secret: str) -> TemplateResponse:
        """Answer with the secret itself: no redirect, so that nothing has to remember it."""
        context = self.page_context(request, key, f"Key {key}")
        base = request.build_absolute_uri("/").rstrip("/")
        context |= {"secret": secret, "snippets": snippets(base, secret, _callable_model(key))}
        return TemplateResponse(request, "admin/console/secret.html", context)

    # --- rotating and revoking --------------------------------------------------------------

    @page_action("Rotate", icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self.get_object(request, object_id)
        if key is None or key.revoked_at:
            messages.error(request, "A revoked key cannot be rotated: create a new one.")
            return self.back_to(key) if key else self.back_to_list()
        form = RotateForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = self.page_context(request, key, f"Rotate {key}: the new secret is shown once")
            context |= {"form": form, "button": "Make a new secret"}
            return TemplateResponse(request, "admin/console/ask.html", context)
        before = audit.fields_of(key)
        secret = keys.rotate(key, grace_s=form.cleaned_data["grace"], now=timezone.now())
        key.save(update_fields=keys.ISSUED)
        record(request, "rotated", key, before=before)
        return self._reveal(request, key, secret)

    @page_action("Revoke", icon="block", variant=ActionVariant.DANGER)
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self.get_object(request, object_id)
        if key is None:
            return self.back_to_list()
        if request.method != "POST":
            return self.confirm(
                request,
                key,
                title=f"Revoke {key}",
                text="Every process refuses the key within two seconds. This cannot be undone.",
                button="Revoke the key",
            )
        self._revoke(request, key)
        messages.success(request, f"{key} is revoked.")
        return self.back_to(key)

    @admin.action(description="Revoke")
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        active = list(queryset.filter(revoked_at=None))
        for key in active:
            self._revoke(request, key)
        messages.success(request, f"{len(active)} revoked.")

    def _revoke(self, request: HttpRequest, key: ApiKey) -> None:
        if key.revoked_at:
            return
        before = audit.fields_of(key)
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at", "updated_at"])
        record(request, "revoked", key, before=before)

    # --- columns ----------------------------------------------------------------------------

    @column("state", labels={"active": "success", "revoked": "danger", "expired": "warning"})
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return "revoked"
        return "expired" if key.expires_at and key.expires_at < timezone.now() else "active"

    @column("starts with")
    def starts_with(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @column("old secret")
    def old_secret(self, key: ApiKey) -> SafeString | str:
        if not key.old_until or key.old_until < timezone.now() or key.revoked_at:
            return NOTHING
        return format_html("works too, ends {}", ago(key.old_until))

    @column("may")
    def scope_list(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @column("last used", order="last_used_at")
    def used(self, key: ApiKey) -> str:
        return ago(key.last_used_at) if key.last_used_at else "never"

    @column("expires", order="expires_at")
    def ends(self, key: ApiKey) -> str:
        return ago(key.expires_at) if key.expires_at else "never"

    @column("revoked", order="revoked_at")
    def revoked(self, key: ApiKey) -> str:
        return ago(key.revoked_at)


def _callable_model(key: ApiKey) -> str:
    """Return a name this key may call, for the examples."""
    allowed = key.allowed_models or key.tenant.allowed_models
    if allowed:
        return str(allowed[0])
    first = Model.objects.filter(enabled=True).order_by("pk").values_list("name", flat=True).first()
    return first or "MODEL"
