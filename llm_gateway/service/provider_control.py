"""Ask a provider outside of any request: does this key work, which models are there.

Nothing here is billed. Each call opens its own way out and closes it, since it is asked from a
thread of the console and not from the loop that serves.
"""

from asgiref.sync import async_to_sync
from msgspec import convert

from llm_gateway import vault
from llm_gateway.errors import UpstreamError
from llm_gateway.models import Provider, ProviderKey
from llm_gateway.providers import control
from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.control import Control, DiscoveredModel
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import MOCK_URL, Endpoint
from llm_gateway.providers.row import speech_at
from llm_gateway.types import Timeouts
from llm_gateway.version import VERSION
from tenants.secrets import SecretError

MOCK_MODELS = ("mock", "mock-embeddings")


def discover(provider: Provider, key: ProviderKey | None) -> tuple[DiscoveredModel, ...]:
    """Return the provider's models, sorted by id. Raises GatewayError with a sentence."""
    try:
        return _listed(provider, _credential(key))
    except SecretError as error:
        raise UpstreamError(f"{error}.") from None


def discover_with(provider: Provider, secret: str) -> tuple[DiscoveredModel, ...]:
    """Do so with a secret that is kept nowhere, at a provider that need not be saved."""
    return _listed(provider, Credential(0, secret, provider.origin))


def _listed(provider: Provider, credential: Credential | None) -> tuple[DiscoveredModel, ...]:
    if provider.address == MOCK_URL:
        return tuple(DiscoveredModel(id=name) for name in _played(provider))
    try:
        return async_to_sync(_discover)(provider, credential)
    except AddressError as error:
        raise UpstreamError(f"{error}.") from None


def _played(provider: Provider) -> list[str]:
    """Return names for a provider that is played in the process and answers to every one."""
    return sorted({*MOCK_MODELS, *provider.options.get("answers", {})})


def _credential(key: ProviderKey | None) -> Credential | None:
    return Credential(key.pk, vault.reveal(key), key.origin) if key else None


async def _discover(
    provider: Provider, credential: Credential | None
) -> tuple[DiscoveredModel, ...]:
    egress = Egress(version=VERSION)
    try:
        return await control.discover(_control(egress, provider, credential))
    finally:
        await egress.close()


def _control(egress: Egress, provider: Provider, credential: Credential | None) -> Control:
    kind = CATALOG[provider.kind]
    speech = speech_at(kind, provider.address, provider.options)
    endpoint = Endpoint(
        provider_id=provider.pk or 0,
        base_url=provider.address,
        protocol=next(iter(speech.adapters.values())),
        auth="none" if kind.key_optional and credential is None else kind.auth,
        key_optional=kind.key_optional,
        allow_private_network=provider.allow_private_network,
        default_headers=speech.quirks.default_headers,
        options=provider.options,
    )
    return Control(
        egress=egress,
        endpoint=endpoint,
        credential=credential,
        sdk=kind.sdk,
        sdk_path=speech.sdk_path,
        timeouts=convert(provider.timeouts, Timeouts),
    )
