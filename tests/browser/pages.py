"""Find every page of the console in its registry and addresses: nothing is listed by hand."""

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, reverse

from llm_gateway.models import Model
from tenants.signin.urls import urlpatterns

# Parts of pages, what only acts, and what only leads to another page.
NO_PAGES = {
    *("logout", "search", "autocomplete", "jsi18n", "view_on_site"),
    *("sign-out", "sign-in-elsewhere", "sign-in-sso", "sign-in-sso-callback"),
    *("sign-in-invitation", "sign-in-reset"),  # walked in `test_links`
    *("llm_gateway_runningnow_stop", "llm_gateway_provider_test_typed", "money-advice-follow"),
}
_LEADS_ELSEWHERE = ("_history", "login")
Row = Callable[[Any], Any]  # the key of some row of a model, None where there is none


def sections() -> list[Any]:
    """Return every model that has pages; None stands for the pages of no model."""
    return [None, *admin.site._registry]


def addresses(model: Any, row: Row) -> Iterator[str]:
    """Yield the address of each page; those of a row are left out where there is no row."""
    if model is None:
        yield from (reverse(str(one.name)) for one in urlpatterns if _is_page(one.name))
    patterns = admin.site._registry[model].get_urls() if model else admin.site.get_urls()
    for pattern in patterns:
        if isinstance(pattern, URLPattern) and _is_page(pattern.name):
            given = {name: _given(name, model, row) for name in _names(pattern)}
            if None not in given.values():
                yield reverse(f"admin:{pattern.name}", kwargs=given)


def _is_page(name: str | None) -> bool:
    return bool(name) and name not in NO_PAGES and not str(name).endswith(_LEADS_ELSEWHERE)


def _names(pattern: Any) -> list[str]:
    return list(pattern.pattern.converters or pattern.pattern.regex.groupindex)


def _given(name: str, model: Any, row: Row) -> Any:
    """Return what stands in an address for a name. Raises KeyError for a name that is new."""
    known: dict[str, Callable[[], Any]] = {
        "object_id": lambda: row(model),
        "id": lambda: row(model),
        "deployment": lambda: row(Model),
        "action": lambda: "force_open",
        "app_label": lambda: "tenants",
    }
    return known[name]()
