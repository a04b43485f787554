"""The one way the console changes a row: what it changes is audited, secrets left out."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.admin import ModelAdmin
from unfold.admin import TabularInline as ThemedTabularInline
from unfold.decorators import action as themed_action
from unfold.widgets import UnfoldAdminTextInputWidget

from tenants import audit
from tenants.admin.columns import column
from tenants.fields import NanoUsdField

Page = TypeVar("Page", bound=Callable[..., Any])


def page_action(description: str, *, icon: str, variant: Any = None) -> Callable[[Page], Page]:
    """Mark a method as a button on the page of one object.

    Its link only opens a page: what changes something asks there and acts on POST.
    """
    mark: Callable[[Page], Page] = themed_action(
        description=description, icon=icon, variant=variant
    )
    return mark


# The theme would show the column's own type: a whole number.
INPUTS: Any = {NanoUsdField: {"widget": UnfoldAdminTextInputWidget}}


class ConsoleAdmin(ModelAdmin):  # type: ignore[misc] # the theme is not typed
    """Lists, forms and an audit event for every change made through them."""

    formfield_overrides = INPUTS
    list_per_page = 50
    list_fullwidth = True
    list_filter_submit = False
    compressed_fields = True
    warn_unsaved_form = True
    change_form_before_template = "admin/console/managed_by_file.html"

    @override
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        stored = self.get_queryset(request).filter(pk=obj.pk).first() if change else None
        form.before = audit.fields_of(stored) if stored else None
        super().save_model(request, obj, form, change)
        self.saved_row(obj, form)

    def saved_row(self, obj: Any, form: Any) -> None:
        """Keep what a form holds beside its row; called for the row and for each inline one."""

    @override
    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        record(request, "updated" if change else "created", form.instance, before=form.before)

    @override
    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        # Read anew: the forms have changed the objects they hold.
        known = {obj.pk: audit.fields_of(obj) for obj in formset.get_queryset().all()}
        saved = formset.save(commit=False)
        forms = {id(row.instance): row for row in formset.forms}
        for obj in formset.deleted_objects:
            record(request, "removed", obj, before=known.get(obj.pk))
            obj.delete()
        for obj in saved:
            before = known.get(obj.pk)
            obj.save()
            self.saved_row(obj, forms[id(obj)])
            record(request, "updated" if before else "created", obj, before=before)
        formset.save_m2m()

    @override
    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        record(request, "removed", obj, before=audit.fields_of(obj))
        super().delete_model(request, obj)

    @override
    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        for obj in queryset:
            self.delete_model(request, obj)

    @override
    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Let rows that cannot be deleted by themselves go with what they belong to."""
        tree, counts, _, protected = super().get_deleted_objects(objs, request)
        return tree, counts, set(), protected

    @override
    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Show the audit log of this object: there is one history, whoever made it."""
        listed = reverse("admin:tenants_auditevent_changelist")
        return redirect(f"{listed}?object_type={self.opts.model_name}&object_id={object_id}")

    @column("file", order="managed_by_file")
    def from_file(self, obj: Any) -> SafeString | str:
        if not obj.managed_by_file:
            return ""
        return format_html(
            '<span class="material-symbols-outlined" title="{}">description</span>',
            "Managed by a configuration file",
        )

    def confirm(
        self, request: HttpRequest, obj: Any, *, title: str, text: str, button: str
    ) -> TemplateResponse:
        """Ask before an action: the page posts back to its own address."""
        context = self.page_context(request, obj, title)
        context |= {"text": text, "button": button}
        return TemplateResponse(request, "admin/console/confirm.html", context)

    def page_context(self, request: HttpRequest, obj: Any, title: str) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "original": obj,
            "back": self.page_of(obj),
        }

    def page_of(self, obj: Any) -> str:
        opts = self.opts
        return reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[obj.pk])

    def back_to_list(self) -> HttpResponseRedirect:
        opts = self.opts
        return HttpResponseRedirect(reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"))

    def back_to(self, obj: Any) -> HttpResponseRedirect:
        return HttpResponseRedirect(self.page_of(obj))


class ReadOnlyAdmin(ConsoleAdmin):
    """Rows that the gateway writes: to look at, never to touch."""

    actions = None
    warn_unsaved_form = False
    show_full_result_count = False

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Inline(ThemedTabularInline):  # type: ignore[misc] # the theme is not typed
    """Rows edited on the page of what they belong to."""

    formfield_overrides = INPUTS
    extra = 0
    hide_title = True
    tab = True
    show_change_link = True


class Switchable(ConsoleAdmin):
    """Rows with a switch that can be thrown for many at once."""

    switch = "enabled"
    actions: Sequence[str] | None = ("switch_on", "switch_off")

    @admin.action(description="Switch on")
    def switch_on(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description="Switch off")
    def switch_off(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, rows: Iterable[Any], *, on: bool) -> None:
        for obj in rows:
            before = audit.fields_of(obj)
            setattr(obj, self.switch, on)
            obj.save(update_fields=[self.switch])
            record(request, "updated", obj, before=before)


def record(request: HttpRequest, action: str, obj: Any, *, before: Any = None) -> None:
    """Write the audit event of a change made by who is signed in."""
    after = None if action == "removed" else audit.fields_of(obj)
    audit.record(str(request.user), action, obj, before, after)
