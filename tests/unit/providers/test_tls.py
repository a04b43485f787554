"""TLS is always verified, by the name that was asked for and not by the address it led to."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from llm_gateway.errors import NotSentError
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.types import Timeouts
from tests.unit.providers.test_addresses import Names
from tests.unit.providers.wire import CHAT, SECRET, Held, Peer, answering, soon

NAME = "api.acme.test"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for NAME that only itself vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@asynccontextmanager
async def tls_provider(pem: Path, names: list[str | None]) -> AsyncIterator[int]:
    """Serve with the certificate; `names` gets what clients ask for by SNI."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def asked(_socket: object, name: str | None, _context: object) -> None:
        names.append(name)

    context.sni_callback = asked
    server = await asyncio.start_server(
        lambda r, w: answering(Peer(r, w, [])), "127.0.0.1", 0, ssl=context
    )
    yield server.sockets[0].getsockname()[1]
    server.close()


async def ask(egress: Egress, port: int, name: str) -> bytes:
    endpoint = Endpoint(
        provider_id=1,
        base_url=f"https://{name}:{port}",
        protocol="openai_chat",
        auth="bearer",
        allow_private_network=True,
    )
    key = Credential(id=1, secret=SECRET, origin=endpoint.origin)
    return await (await egress.send(Held(), endpoint, CHAT, key, Timeouts(), soon())).read()


async def test_a_certificate_is_checked_against_the_name(pem: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(pem))
    names: list[str | None] = []
    egress = Egress(version="0.0-test", resolver=Names(["127.0.0.1"]), tls=trusting)
    async with tls_provider(pem, names) as port:
        assert await ask(egress, port, NAME) == b"{}"
        for other in ("api.other.test", "127.0.0.1"):
            with pytest.raises(NotSentError, match="certificate"):
                await ask(egress, port, other)
        await egress.close()
    assert names[0] == NAME


async def test_a_certificate_that_nobody_vouches_for_is_refused(pem: Path) -> None:
    egress = Egress(version="0.0-test", resolver=Names(["127.0.0.1"]))
    async with tls_provider(pem, []) as port:
        with pytest.raises(NotSentError, match="certificate"):
            await ask(egress, port, NAME)
        await egress.close()


async def test_verification_cannot_be_switched_off() -> None:
    careless = ssl.create_default_context()
    careless.check_hostname = False
    with pytest.raises(ValueError, match="verifies nothing"):
        Egress(version="0.0-test", tls=careless)
