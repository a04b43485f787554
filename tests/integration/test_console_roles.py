"""Somebody of a tenant sees in the console what is theirs, and changes what their role may.

Generated from the console's own registry and from the tables of rights: a page, an action or a
field that nobody listed is for operators alone.
"""

from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, resolve, reverse

from llm_gateway.access import AUTHZ_MATRIX, Staff
from llm_gateway.insight.overview import DIMENSIONS
from tenants.models import ApiKey, AuditEvent, Budget, Member, Tenant
from tenants.rights import FIELD_MATRIX, ROLES, ROW_MATRIX, Role, field_of, reaches, rows_of
from tests.integration.seated import Town, sum_up_log

pytestmark = [pytest.mark.django_db, pytest.mark.promise("S1")]

PAGES = sorted(site._registry, key=lambda model: model.__name__)
REFUSED = {HTTPStatus.FORBIDDEN, HTTPStatus.FOUND, HTTPStatus.NOT_FOUND}


@pytest.fixture
def ours() -> Town:
    return Town("ours")


@pytest.fixture
def theirs() -> Town:
    return Town("theirs")


def page(model: Any, kind: str, *args: Any) -> str:
    opts = model._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_{kind}", args=args)


def shows(response: Any, mark: str) -> bool:
    """Say whether an answer holds a mark."""
    return not response.streaming and mark in response.content.decode()


# --- whose rows -----------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_every_list_shows_ones_own_or_is_refused(role: Role, ours: Town, theirs: Town) -> None:
    client = ours.client(role)
    for model in PAGES:
        name = model.__name__
        for query in ("", f"?tenant={theirs.tenant.pk}", f"?q={theirs.mark[7:-1]}"):
            answer = client.get(page(model, "changelist") + query, follow=False)
            assert not shows(answer, theirs.mark), (name, query)
        answer = client.get(page(model, "changelist"))
        sees = reaches(role, rows_of(name).see)
        assert answer.status_code == (HTTPStatus.OK if sees else HTTPStatus.FORBIDDEN), name
        if sees and name != "RunningNow":
            assert shows(answer, ours.mark), name


def test_who_takes_a_name_sees_nothing_of_who_had_it(ours: Town, theirs: Town) -> None:
    named = theirs.tenant.name
    Tenant.objects.filter(pk=theirs.tenant.pk).update(name="gone")
    Tenant.objects.filter(pk=ours.tenant.pk).update(name=named)
    events = ours.client("owner").get(page(AuditEvent, "changelist"))
    assert shows(events, ours.mark)
    assert not shows(events, theirs.mark)


@pytest.mark.parametrize("role", ROLES)
def test_no_row_of_another_tenant_opens(role: Role, ours: Town, theirs: Town) -> None:
    client = ours.client(role)
    for model in PAGES:
        name = model.__name__
        foreign, own = theirs.rows.get(name), ours.rows.get(name)
        if foreign is None or own is None:
            assert rows_of(name).see is None or name == "RunningNow", f"no row of {name} to try"
            continue
        for kind in ("change", "delete", "history"):
            answer = client.get(page(model, kind, foreign.pk))
            assert answer.status_code in REFUSED, (name, kind)
            assert not shows(answer, theirs.mark), (name, kind)
        opens = client.get(page(model, "change", own.pk)).status_code == HTTPStatus.OK
        assert opens == reaches(role, rows_of(name).see), name


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_offered_that_is_another_tenants(role: Role, ours: Town, theirs: Town) -> None:
    client = ours.client(role)
    for model in PAGES:
        fields = [one.name for one in model._meta.get_fields() if one.many_to_one and one.concrete]
        for field in fields:
            asked: dict[str, Any] = {
                "app_label": model._meta.app_label,
                "model_name": model._meta.model_name,
                "field_name": field,
                "term": "",
            }
            answer = client.get(reverse("admin:autocomplete"), asked)
            assert not shows(answer, theirs.mark), (model.__name__, field)
        answer = client.get(page(model, "add"))
        assert not shows(answer, theirs.mark), model.__name__
    overview = client.get(reverse("admin:index"), {"tenant": theirs.mark})
    assert (shows(overview, theirs.mark), shows(overview, ours.mark)) == (False, True)


@pytest.mark.parametrize("role", ROLES)
def test_the_overview_is_of_ones_own(role: Role, ours: Town, theirs: Town) -> None:
    sum_up_log()
    client = ours.client(role)
    for by in DIMENSIONS:
        for foreign in ("", f"&tenant={theirs.mark}", f"&tenant={theirs.tenant.pk}"):
            answer = client.get(reverse("admin:index") + f"?by={by}{foreign}")
            assert answer.context["tiles"][0].value == "1", by
            assert [row[1] for row in answer.context["shares"]["rows"]] == ["1"], by
            assert (shows(answer, ours.mark), shows(answer, theirs.mark)) == (True, False), by
        names = {name: theirs.mark for name in DIMENSIONS if name != "tenant"}
        for name, value in names.items():
            answer = client.get(reverse("admin:index"), {"by": by, name: value})
            assert answer.context["tiles"][0].value == "0", (by, name)
    everybody = Client()
    everybody.force_login(User.objects.create_superuser("operator"))
    assert everybody.get(reverse("admin:index")).context["tiles"][0].value == "2"


# --- what is done beside showing rows -------------------------------------------------------


def actions() -> list[str]:
    return sorted(route for kind, _, route in AUTHZ_MATRIX if kind == "action")


@pytest.mark.parametrize("role", ROLES)
def test_actions_are_for_the_roles_of_their_row(
    role: Role, ours: Town, theirs: Town, rf: RequestFactory
) -> None:
    client, tried = ours.client(role), 0
    before = {name: theirs.stored(name) for name in theirs.rows}
    for name in actions():
        row = AUTHZ_MATRIX["action", "POST", name]
        assert isinstance(row, Staff)
        request: Any = rf.get("/admin/")
        request.user = ours.people[role]
        request.session = {}
        assert site.may_act(request, name) == reaches(role, row.role), name  # type: ignore[attr-defined] # the console's
        for model in PAGES:
            foreign = theirs.rows.get(model.__name__)
            if foreign is None or not name.startswith(
                f"{model._meta.app_label}_{model._meta.model_name}_"
            ):
                continue
            try:
                address = reverse(f"admin:{name}", args=[foreign.pk])
            except NoReverseMatch:
                continue
            for answer in (client.get(address), client.post(address)):
                assert answer.status_code in REFUSED, name
                assert not shows(answer, theirs.mark), name
            tried += 1
    assert tried > 3
    assert [name for name, row in before.items() if theirs.stored(name) != row] == []


# --- fields ---------------------------------------------------------------------------------


@pytest.mark.promise("S5")
@pytest.mark.parametrize("role", ROLES)
def test_only_what_a_role_may_write_is_taken(role: Role, ours: Town, rf: RequestFactory) -> None:
    """A page's form has those fields, and whatever else is sent with it changes nothing."""
    request: Any = rf.get("/admin/")
    request.user, request.session = ours.people[role], {}
    for model, pages in site._registry.items():
        name = model.__name__
        row = ours.rows.get(name)
        if row is None or not reaches(role, rows_of(name).change):
            assert row is None or not pages.has_change_permission(request, row)
            continue
        form: Any = pages.get_form(request, row, change=True)
        written = {
            field for field in form.base_fields if reaches(role, field_of(name, field).write)
        }
        assert set(form.base_fields) == written, name


@pytest.mark.promise("S5")
@pytest.mark.parametrize("role", ROLES)
def test_nobody_makes_themselves_more(role: Role, ours: Town, theirs: Town) -> None:
    client = ours.client(role)
    mine = Member.all_tenants_unsafe.get(user=ours.people[role])
    client.post(page(Member, "change", mine.pk), {"email": mine.email, "role": "owner"})
    client.post(page(User, "change", ours.people[role].pk), {"is_superuser": "on"})
    mine.refresh_from_db()
    assert (mine.role, User.objects.get(username=mine.email).is_superuser) == (role, False)
    # What binds the whole tenant is the operator's.
    client.post(page(Budget, "change", ours.whole.pk), {"limit_nano": "99", "name": "x"})
    client.post(page(Budget, "delete", ours.whole.pk), {"post": "yes"})
    ours.whole.refresh_from_db()
    assert ours.whole.limit_nano == 10**9
    # A row that is made is made in one's own tenant, whatever is sent.
    client.post(
        page(ApiKey, "add"),
        {"tenant": theirs.tenant.pk, "name": "fresh", "scopes": ["usage"], "project": ""},
    )
    made = ApiKey.all_tenants_unsafe.filter(name="fresh").first()
    assert (made is not None) == reaches(role, "admin")
    assert made is None or made.tenant == ours.tenant


# --- who is let in at all -------------------------------------------------------------------


def test_the_console_is_for_operators_and_for_the_people_of_a_tenant(
    rf: RequestFactory, ours: Town
) -> None:
    request: Any = rf.get("/admin/")
    lonely = User.objects.create_user("lonely", is_staff=True)
    operator = User.objects.create_superuser("operator")
    gone = User.objects.create_superuser("gone", is_active=False)
    for user, admitted in (
        (operator, True),
        (ours.people["viewer"], True),
        (lonely, False),
        (gone, False),
        (AnonymousUser(), False),
    ):
        request = rf.get("/admin/")
        request.user, request.session = user, {}
        request.resolver_match = resolve("/admin/")
        assert site.has_permission(request) is admitted, user


def test_a_role_that_ends_ends_at_the_next_request(ours: Town) -> None:
    client = ours.client("admin")
    assert client.get(page(Member, "changelist")).status_code == HTTPStatus.OK
    Member.all_tenants_unsafe.filter(user=ours.people["admin"]).update(role="viewer")
    assert client.get(page(Member, "changelist")).status_code == HTTPStatus.FORBIDDEN
    Tenant.objects.filter(pk=ours.tenant.pk).update(active=False)
    assert client.get(page(ApiKey, "changelist")).status_code == HTTPStatus.FOUND  # to sign in


def test_the_tables_name_what_there_is() -> None:
    models = {model.__name__: model for model in PAGES}
    assert set(ROW_MATRIX) <= set(models)
    for name, field in FIELD_MATRIX:
        models[name]._meta.get_field(field)  # raises where there is none


def test_a_client_without_a_session_is_led_to_the_sign_in(client: Client) -> None:
    User.objects.create_superuser("operator")  # without one the console is not set up
    for model in PAGES:
        answer = client.get(page(model, "changelist"))
        assert answer.status_code == HTTPStatus.FOUND, model
        assert "/login/" in answer["Location"]
