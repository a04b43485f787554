"""A provider's secret opens in its row, for its origin, and nowhere else."""

import pytest

from llm_gateway import vault
from llm_gateway.models import Provider, ProviderKey
from tenants.models import Tenant
from tenants.secrets import SecretError

pytestmark = pytest.mark.django_db

SECRET = "sk-fake-0123456789-abcd"


@pytest.fixture
def key() -> ProviderKey:
    provider = Provider.objects.create(name="openai", kind="openai")
    key = ProviderKey.objects.create(provider=provider)
    vault.put(key, SECRET)
    return key


def stored(key: ProviderKey) -> ProviderKey:
    return ProviderKey.objects.select_related("provider").get(pk=key.pk)


def test_what_was_put_in_is_revealed(key: ProviderKey) -> None:
    found = stored(key)
    assert vault.reveal(found) == SECRET
    assert vault.holds(found, SECRET)
    assert not vault.holds(found, SECRET + "x")
    assert (found.origin, found.last_four) == ("https://api.openai.com:443", "abcd")


def test_a_short_secret_shows_nothing(key: ProviderKey) -> None:
    vault.put(key, "secret")
    assert stored(key).last_four == ""


def test_ciphertext_copied_to_another_row_does_not_open(key: ProviderKey) -> None:
    other = ProviderKey.objects.create(provider=key.provider, name="other")
    ProviderKey.objects.filter(pk=other.pk).update(sealed=stored(key).sealed, origin=key.origin)
    with pytest.raises(SecretError):
        vault.reveal(stored(other))


def test_a_provider_given_to_a_tenant_takes_no_secret_along(key: ProviderKey) -> None:
    Provider.objects.update(tenant=Tenant.objects.create(name="acme"))
    with pytest.raises(SecretError):
        vault.reveal(stored(key))


@pytest.mark.parametrize(
    "base_url",
    ["https://elsewhere.test/v1", "http://api.openai.com/v1", "https://api.openai.com:8443/v1"],
)
def test_whoever_moves_a_provider_wipes_its_secrets(key: ProviderKey, base_url: str) -> None:
    provider = key.provider
    provider.base_url = base_url
    provider.save()
    found = stored(key)
    assert (found.sealed, found.origin, found.last_four, found.fingerprint) == (None, "", "", "")
    with pytest.raises(SecretError, match="enter it again"):
        vault.reveal(found)


def test_a_new_kind_is_a_new_origin(key: ProviderKey) -> None:
    key.provider.kind = "anthropic"
    key.provider.save()
    assert stored(key).sealed is None


def test_a_new_path_keeps_the_secret(key: ProviderKey) -> None:
    key.provider.base_url = "https://API.openai.com:443/other/v1"
    key.provider.save()
    assert vault.reveal(stored(key)) == SECRET


def test_a_move_behind_the_models_back_still_opens_nothing(key: ProviderKey) -> None:
    Provider.objects.update(base_url="https://elsewhere.test/v1")
    with pytest.raises(SecretError):
        vault.reveal(stored(key))


def test_a_provider_without_an_address_is_not_saved(key: ProviderKey) -> None:
    key.provider.base_url = "nonsense"
    with pytest.raises(ValueError, match="must look like"):
        key.provider.save()
    assert vault.reveal(stored(key)) == SECRET


def test_a_rewrapped_secret_is_the_same_under_other_bytes(key: ProviderKey) -> None:
    before = bytes(stored(key).sealed or b"")
    vault.rewrap(stored(key))
    found = stored(key)
    assert bytes(found.sealed or b"") != before
    assert vault.reveal(found) == SECRET
