"""The one way the console shows and changes rows: to whom they belong, and with an audit.

`tenant_path` says how rows are a tenant's; pages without it are for operators alone. What a role
may do with rows and fields is in `tenants.rights`.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from django.contrib import admin, messages
from django.db import models
from django.forms import Media
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
from tenants.models import Managed
from tenants.rights import field_of, rows_of
from tenants.seats import Seat, seat_of

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


# Each is a condition on every column that is searched.
MOST_WORDS = 20
SLUG_SCRIPTS = ("xregexp.js", "xregexp.min.js", "urlify.js", "prepopulate.js")


class FromFile:
    """Rows that say whether a configuration file owns them."""

    @column("file", order="managed_by_file")
    def from_file(self, obj: Any) -> SafeString | str:
        if not obj.managed_by_file:
            return ""
        return format_html(
            '<span class="material-symbols-outlined" title="{}">description</span>',
            "From a configuration file: the next apply overwrites what is changed here",
        )


class ConsoleAdmin(FromFile, ModelAdmin):  # type: ignore[misc] # the theme is not typed
    """Lists, forms and an audit event for every change made through them."""

    formfield_overrides = INPUTS
    list_per_page = 50
    list_fullwidth = True
    list_filter_submit = False
    compressed_fields = True
    warn_unsaved_form = True
    change_form_before_template = "admin/console/managed_by_file.html"
    # A look-up of the tenant's id.
    tenant_path: ClassVar[str] = ""

    # --- whose rows -------------------------------------------------------------------------

    @override
    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = super().get_queryset(request)
        seat = seat_of(request)
        if seat is None or not (seat.operator or self.tenant_path):
            return rows.none()
        return rows if seat.operator else rows.filter(**{self.tenant_path: seat.tenant_id})

    @override
    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "see", obj) or self.has_change_permission(request, obj)

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "make")

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "change", obj)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "remove", obj)

    @override
    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def _may(self, request: HttpRequest, what: str, obj: Any = None) -> bool:
        seat = seat_of(request)
        if seat is None or seat.operator:
            return seat is not None
        allowed = seat.reaches(getattr(rows_of(self.opts.object_name), what))
        return allowed and bool(self.tenant_path) and (obj is None or self._owns(seat, obj))

    def _owns(self, seat: Seat, obj: Any) -> bool:
        return bool(attrgetter(self.tenant_path.replace("__", "."))(obj) == seat.tenant_id)

    @override
    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Match every word; of so many that a database cannot take them, say so and find none."""
        if len(search_term.split()) > MOST_WORDS:
            text = f"Search for up to {MOST_WORDS} words."
            messages.warning(request, text, fail_silently=True)
            return queryset.none(), False
        found: tuple[models.QuerySet[Any], bool] = super().get_search_results(
            request, queryset, search_term
        )
        return found

    # --- which fields -----------------------------------------------------------------------

    @override
    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        found = super().get_fieldsets(request, obj)
        if _operates(request):
            return found
        hidden = self._hidden(request, obj)
        kept = [
            (title, {**options, "fields": _without(options["fields"], hidden)})
            for title, options in found
        ]
        return [(title, options) for title, options in kept if options["fields"]]

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = tuple(super().get_readonly_fields(request, obj))
        if _operates(request):
            return shown
        return (
            *shown,
            *(name for name in self._changeable(shown) if not self._writes(request, name)),
        )

    @override
    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        seat = seat_of(request)
        if seat is None or seat.operator or obj is not None or self.tenant_path != "tenant_id":
            return form
        return _made_for(form, seat)

    @override
    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest | None, **kwargs: Any
    ) -> Any:
        """Offer, and take, no row that who asks does not see."""
        pages = self.admin_site._registry.get(db_field.remote_field.model)  # noqa: SLF001 - Django's own way to it
        if request is not None and isinstance(pages, ConsoleAdmin):
            kwargs.setdefault("queryset", pages.get_queryset(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def _hidden(self, request: HttpRequest, obj: Any) -> set[str]:
        names = self._changeable(super().get_readonly_fields(request, obj))
        if obj is None:
            return {name for name in names if not self._writes(request, name)}
        return {name for name in names if not self._reads(request, name)}

    def _changeable(self, readonly: Iterable[str]) -> list[str]:
        known = {field.name for field in self.opts.get_fields()} - set(readonly)
        return sorted(known)

    def _reads(self, request: HttpRequest, name: str) -> bool:
        seat = seat_of(request)
        return seat is not None and seat.reaches(field_of(self.opts.object_name, name).read)

    def _writes(self, request: HttpRequest, name: str) -> bool:
        seat = seat_of(request)
        return seat is not None and seat.reaches(field_of(self.opts.object_name, name).write)

    @override
    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        # What is edited on a tenant's page has pages of its own, which know who may what.
        return list(super().get_inlines(request, obj)) if _operates(request) else []

    @override
    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        found = list(super().get_list_filter(request))
        return found if _operates(request) else [one for one in found if not _by_tenant(one)]

    # --- what else a page does --------------------------------------------------------------

    @override
    def get_actions(self, request: HttpRequest) -> Any:
        return {
            name: action
            for name, action in super().get_actions(request).items()
            if name == "delete_selected" or self._acts(request, name)
        }

    def _filter_unfold_actions_by_permissions(
        self, request: HttpRequest, actions: list[Any], object_id: Any = None
    ) -> list[Any]:
        found = super()._filter_unfold_actions_by_permissions(request, actions, object_id)
        return [one for one in found if self.admin_site.may_act(request, one.action_name)]

    def _acts(self, request: HttpRequest, name: str) -> bool:
        stem = f"{self.opts.app_label}_{self.opts.model_name}"
        return bool(self.admin_site.may_act(request, f"{stem}_{name}"))

    # --- changing rows ----------------------------------------------------------------------

    @property
    def media(self) -> Media:
        """Leave out what writes slugs: no form has one, and it is heavy."""
        media = super().media
        scripts = [name for name in media._js if not name.endswith(SLUG_SCRIPTS)]  # noqa: SLF001 - Django's media have no public list
        return Media(css=media._css, js=scripts)  # noqa: SLF001 - likewise

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


def _operates(request: HttpRequest) -> bool:
    seat = seat_of(request)
    return seat is not None and seat.operator


def _without(fields: Iterable[Any], hidden: set[str]) -> list[Any]:
    """Return the fields of a set, of which some stand in one line, without the hidden ones."""
    lines = [
        tuple(name for name in line if name not in hidden)
        if isinstance(line, tuple | list)
        else line
        for line in fields
    ]
    return [line for line in lines if line and line not in hidden]


def _by_tenant(choice: Any) -> bool:
    """Say whether a filter chooses among tenants."""
    if isinstance(choice, tuple | list):
        return bool(choice[0] == "tenant")
    return str(getattr(choice, "parameter_name", choice)).startswith("tenant")


def _made_for(form: Any, seat: Seat) -> Any:
    """Return a form whose new rows are of this seat's tenant, and are checked as such."""

    class Owned(form):  # type: ignore[misc] # made at run time
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.instance.tenant_id = seat.tenant_id

        def _get_validation_exclusions(self) -> set[str]:
            return set(super()._get_validation_exclusions()) - {"tenant"}

    return Owned


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


class Inline(FromFile, ThemedTabularInline):  # type: ignore[misc] # the theme is not typed
    """Rows edited on the page of what they belong to; those of a file are marked."""

    formfield_overrides = INPUTS
    extra = 0
    hide_title = True
    tab = True
    show_change_link = True

    @override
    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        return (*super().get_fields(request, obj), *self._marked())

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return (*super().get_readonly_fields(request, obj), *self._marked())

    def _marked(self) -> tuple[str, ...]:
        return ("from_file",) if issubclass(self.model, Managed) else ()

    @override
    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Name every input after its column: there is no label beside it."""
        formset = super().get_formset(request, obj, **kwargs)
        for field in formset.form.base_fields.values():
            field.widget.attrs.setdefault("aria-label", field.label)
        return formset


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
