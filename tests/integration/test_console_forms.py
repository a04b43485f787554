"""Every form of the console reopens as it was saved, and keeps what was typed when it is refused.

The forms are found in the registry, their fields on the pages: nothing is listed by hand.
"""

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client

from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.demo_town import demo_town
from tenants.admin.base import ReadOnlyAdmin
from tenants.alerts.models import AlertSink
from tests.integration.typed import Form, Sent, otherwise

pytestmark = pytest.mark.django_db

# Of the page, not of the row: a token for each answer, what a form found when it was opened.
_OF_THE_PAGE = ("csrfmiddlewaretoken", "initial-")
_NUMBER = re.compile(r"\d+(\.\d+)?")
WRITTEN_BY_HAND = [
    model for model, pages in admin.site._registry.items() if not isinstance(pages, ReadOnlyAdmin)
]


@pytest.fixture
def console(client: Client) -> Client:
    """Return an operator's console over one of everything that a form can hold."""
    apply(demo_town(), folder=Path.cwd(), actor="demo")
    AlertSink.objects.create(name="pager", kind="webhook", address="https://hooks.test")
    client.force_login(User.objects.create_superuser("operator"))
    User.objects.create_user("clerk", email="clerk@example.test")
    Group.objects.create(name="readers")
    return client


def differing(shown: Sent, typed: Sent) -> dict[str, tuple[list[str], list[str]]]:
    """Return the fields that show something else than what was typed, with both."""
    pairs = {
        name: (_read(shown.get(name, [])), _read(typed.get(name, [])))
        for name in shown.keys() | typed.keys()
        if not name.startswith(_OF_THE_PAGE)
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _read(values: list[str]) -> list[str]:
    """Return values in order, numbers as such: 1 and 1.0 are the same."""
    return sorted(repr(float(one)) if _NUMBER.fullmatch(one) else one for one in values)


@pytest.mark.parametrize("model", WRITTEN_BY_HAND, ids=lambda one: one._meta.label)
def test_a_form_shows_what_was_typed(console: Client, model: Any) -> None:
    row = model._base_manager.order_by("pk").last()
    if row is None:
        return  # nothing of it can be written by hand
    meta = model._meta
    page = f"/admin/{meta.app_label}/{meta.model_name}/{row.pk}/change/"
    opened = console.get(page, follow=True)
    if opened.status_code != HTTPStatus.OK or not opened.context.get("has_change_permission"):
        return
    form = Form(opened.content.decode())
    assert form.sent, page
    for name, _ in list(otherwise(form)):
        typed = dict(otherwise(form)).get(name)
        if typed is None:
            continue
        answer = console.post(page, typed)
        saved = answer.status_code == HTTPStatus.FOUND
        shown = Form((console.get(page) if saved else answer).content.decode())
        assert differing(shown.sent, typed) == {}, f"{name}, {'saved' if saved else 'refused'}"
        form = shown if saved else form
