"""Try the keys that were typed into a provider's form, before anything is saved."""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.http import require_POST
from typing_extensions import override

from llm_gateway.errors import GatewayError
from llm_gateway.models import Provider
from tenants.admin.base import ConsoleAdmin


class TypedKeys(ConsoleAdmin):
    """A form with a button that tries what is typed; the answer stands beside it, without secrets.

    The form is posted by the page and stays as it is: an input for secrets cannot be filled again.
    """

    change_form_after_template = "admin/console/test_typed.html"

    @override
    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(require_POST(self.test_typed))
        name = "llm_gateway_provider_test_typed"
        return [path("test-typed/<int:saved>/", view, name=name), *super().get_urls()]

    def test_typed(self, request: HttpRequest, saved: int) -> HttpResponse:
        """Answer with a sentence for each key that was typed; `saved` is 0 for a new provider."""
        found = self.get_object(request, str(saved)) if saved else None
        form = self.get_form(request, found, change=found is not None)(
            request.POST, instance=found or Provider()
        )
        lines = self._tried(request, form.instance) if form.is_valid() else _faults(form)
        return TemplateResponse(request, "admin/console/tested.html", {"lines": list(lines)})

    def _tried(self, request: HttpRequest, provider: Provider) -> Iterable[tuple[bool, str]]:
        secrets = list(self._typed(request, provider))
        if not secrets:
            yield False, "No key was typed: a kept one is tried by Test keys."
        for name, secret in secrets:
            yield _result(provider, name, secret)

    def _typed(self, request: HttpRequest, provider: Provider) -> Iterable[tuple[str, str]]:
        for formset, inline in self.get_formsets_with_inlines(request, provider):
            prefix = formset.get_default_prefix()
            given = self.get_formset_kwargs(request, provider, inline, prefix)
            for form in formset(**given).forms:
                form.is_valid()  # a row without a name has a secret all the same
                if secret := form.cleaned_data.get("secret"):
                    yield form.cleaned_data.get("name") or "key", secret


def _faults(form: Any) -> Iterable[tuple[bool, str]]:
    for name, texts in form.errors.items():
        yield False, f"{name}: {' '.join(texts)}"


def _result(provider: Provider, name: str, secret: str) -> tuple[bool, str]:
    # The way out and the SDKs are heavy, and every command loads the admin.
    from llm_gateway.service import provider_control  # noqa: PLC0415

    try:
        models = provider_control.discover_with(provider, secret)
    except GatewayError as error:
        return False, f"{name}: {error.message}"
    return True, f"{name} works: {len(models)} models are listed. Nothing is saved yet."
