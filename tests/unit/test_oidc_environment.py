"""OIDC_… are read strictly: what is wrong stops the start and is named, secrets are not quoted."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from mobius import env

SECRET = "CANARY-oidc-client-secret"
RIGHT = {
    "OIDC_ISSUER": "https://id.acme.test/realms/main",
    "OIDC_CLIENT_ID": "mobius",
    "OIDC_CLIENT_SECRET": SECRET,
}


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> env.Oidc | None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return env.oidc()


def test_none_is_no_single_sign_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch) is None


def test_names_are_compared_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {"OIDC_DOMAINS": "Acme.test, b.test", "OIDC_OPERATORS": "Boss@Acme.test"}
    found = read(monkeypatch, **RIGHT, **lists)
    assert found is not None
    assert found.domains == frozenset({"acme.test", "b.test"})
    assert found.operators == frozenset({"boss@acme.test"})
    assert found.name == "single sign-on"


@pytest.mark.parametrize(
    ("named", "changes"),
    [
        ("OIDC_CLIENT_ID", {"OIDC_CLIENT_ID": ""}),
        ("OIDC_CLIENT_SECRET", {"OIDC_CLIENT_SECRET": ""}),
        ("OIDC_CLIENT_ID", {"OIDC_ISSUER": ""}),
        ("OIDC_ISSUER", {"OIDC_ISSUER": "ftp://id.acme.test"}),
        ("OIDC_ISSUER", {"OIDC_ISSUER": "https://"}),
        ("OIDC_ISSUER", {"OIDC_ISSUER": "https://id.acme.test/?a=b"}),
        ("OIDC_ALLOW_HTTP", {"OIDC_ISSUER": "http://id.acme.test"}),
        ("OIDC_DOMAINS", {"OIDC_DOMAINS": "@acme.test"}),
        ("OIDC_OPERATORS", {"OIDC_OPERATORS": "boss"}),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, named: str, changes: dict[str, str]
) -> None:
    with pytest.raises(ImproperlyConfigured, match=named) as refused:
        read(monkeypatch, **(RIGHT | changes))
    assert SECRET not in str(refused.value)


def test_plain_http_is_for_this_machine_or_said_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, **RIGHT | {"OIDC_ISSUER": "http://127.0.0.1:8080"})
    plain = {"OIDC_ISSUER": "http://id.acme.test", "OIDC_ALLOW_HTTP": "true"}
    assert read(monkeypatch, **RIGHT | plain)
