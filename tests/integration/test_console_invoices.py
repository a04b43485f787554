"""The console imports exports and shows where they differ from the ledger."""

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from llm_gateway.models import InvoiceLine, Provider
from tenants.models import AuditEvent
from tests.unit.insight.test_invoice_files import OPENAI_USAGE

pytestmark = pytest.mark.django_db
LIST = "/admin/llm_gateway/invoiceline/"


@pytest.fixture
def console(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def provider() -> Provider:
    return Provider.objects.create(name="openai", kind="openai")


def upload(console: Client, provider: Provider, content: bytes) -> str:
    file = SimpleUploadedFile("usage.csv", content)
    response = console.post(f"{LIST}add/", {"provider": provider.pk, "file": file}, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def test_before_anything_was_imported_the_page_says_what_to_do(console: Client) -> None:
    page = console.get(LIST).content.decode()
    assert "Nothing was imported yet" in page
    assert "multipart/form-data" in console.get(f"{LIST}add/").content.decode()


def test_an_import_leads_to_the_comparison(console: Client, provider: Provider) -> None:
    page = upload(console, provider, OPENAI_USAGE.encode())
    assert "2 lines of openai imported." in page
    assert "openai: 2 of 2 differ" in page
    assert "gpt-4o-mini" in page
    assert "another program uses this account" in page
    assert InvoiceLine.objects.count() == 2
    (event,) = AuditEvent.objects.all()
    assert (event.actor, event.action) == ("operator", "imported an invoice")
    assert "gpt-4o-mini" in console.get(LIST).content.decode()


def test_names_of_an_export_are_text(console: Client, provider: Provider) -> None:
    bad = OPENAI_USAGE.replace("gpt-4o-mini", "<img src=x onerror=alert(1)>")
    page = upload(console, provider, bad.encode())
    assert "<img src=x" not in page


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"model\n", "lacks the column"),
        (b"\xff\xfe", "not text in UTF-8"),
        (OPENAI_USAGE.replace(",100,20", ",x,20").encode(), "Line 2: input_tokens"),
    ],
)
def test_a_file_that_cannot_be_read_changes_nothing(
    console: Client, provider: Provider, content: bytes, says: str
) -> None:
    assert says in upload(console, provider, content)
    assert InvoiceLine.objects.count() == 0


def test_the_page_is_for_operators_alone(client: Client) -> None:
    User.objects.create_superuser("operator")  # without one the console is not set up
    assert client.get(LIST).status_code == 302
    client.force_login(User.objects.create_user("guest", is_staff=True))
    assert client.get(LIST).status_code in {302, 403}
