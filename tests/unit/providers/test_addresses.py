"""Every spelling of an address that must not be called is refused before a socket opens."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from itertools import cycle

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from llm_gateway.errors import NotSentError
from llm_gateway.providers.addresses import (
    AddressError,
    check_base_url,
    is_allowed,
    is_public,
    parse_base_url,
)
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.types import Timeouts
from tests.unit.providers.wire import (
    CHAT,
    SECRET,
    Held,
    Peer,
    Provider,
    answering,
    make_egress,
    provider,
    soon,
)

# {p} is the port of a listener on loopback that nobody may reach.
FORMS = [
    "http://127.0.0.1:{p}/v1",
    "https://127.0.0.1:{p}/v1",
    "https://127.0.0.1/v1",
    "https://127.1:{p}/v1",
    "https://127.0.1:{p}/v1",
    "https://2130706433:{p}/v1",
    "https://0x7f000001:{p}/v1",
    "https://0x7f.0.0.1:{p}/v1",
    "https://0x7F.1:{p}/v1",
    "https://0177.0.0.1:{p}/v1",
    "https://017700000001:{p}/v1",
    "https://127.0.0.01:{p}/v1",
    "https://127.0.0.1.:{p}/v1",
    "https://127.0.0.1%00:{p}/v1",
    "https://127.0.0.256:{p}/v1",
    "https://1.2.3.4.5:{p}/v1",
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{p}/v1",
    "https://127\u30020\u30020\u30021:{p}/v1",
    "https://0.0.0.0:{p}/v1",
    "https://0:{p}/v1",
    "https://[::1]:{p}/v1",
    "https://[::]:{p}/v1",
    "https://[0:0:0:0:0:0:0:1]:{p}/v1",
    "https://[::ffff:127.0.0.1]:{p}/v1",
    "https://[::ffff:7f00:1]:{p}/v1",
    "https://[::127.0.0.1]:{p}/v1",
    "https://[64:ff9b::7f00:1]:{p}/v1",
    "https://[64:ff9b::127.0.0.1]:{p}/v1",
    "https://[2002:7f00:1::]:{p}/v1",
    "https://[2001:0:7f00:1::]:{p}/v1",
    "https://[fe80::1%25lo]:{p}/v1",
    "https://[fe80::1%lo]:{p}/v1",
    "https://[::1%25eth0]:{p}/v1",
    "https://[fc00::1]:{p}/v1",
    "https://localhost:{p}/v1",
    "https://LOCALHOST:{p}/v1",
    "https://localhost.:{p}/v1",
    "https://api.localhost:{p}/v1",
    "https://10.0.0.1/v1",
    "https://172.16.0.1/v1",
    "https://192.168.0.1/v1",
    "https://100.64.0.1/v1",
    "https://169.254.169.254/latest/meta-data",
    "https://metadata.google.internal/v1",
    "https://user@127.0.0.1:{p}/v1",
    "https://user:password@api.test/v1",
    "https://api.test@127.0.0.1:{p}/v1",
    "https://api.test#@127.0.0.1:{p}/v1",
    "https://api.test\\@127.0.0.1:{p}/v1",
    "https://api.test/v1?x=@127.0.0.1",
    "https://api.test/v1#fragment",
    "https://api.test:{p}/v1",
    "https://api.test:0/v1",
    "https://api.test:99999/v1",
    "https://api.test:/v1",
    "https://api.test/../v1",
    "https:///v1",
    "https://",
    "https:127.0.0.1:{p}/v1",
    "//127.0.0.1:{p}/v1",
    "127.0.0.1:{p}",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{p}/",
    "ftp://127.0.0.1:{p}/",
    "unix:///run/x.sock",
    "https://api.test\r\nHost: 127.0.0.1/",
    "https://api.test /v1",
    "\thttps://api.test/v1",
    "https://api..test/v1",
    "https://-api.test/v1",
    "https://" + "a" * 64 + ".test/v1",
    "https://api.test/" + "a" * 3000,
    "",
]


class Names(AbstractResolver):
    """Answers every name with the next list of addresses."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = cycle(answers)
        self.asked: list[str] = []

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in next(self._answers)
        ]

    @override
    async def close(self) -> None:
        pass


@asynccontextmanager
async def egress_with(names: AbstractResolver) -> AsyncIterator[Egress]:
    client = make_egress(resolver=names)
    try:
        yield client
    finally:
        await client.close()


async def send(egress: Egress, endpoint: Endpoint) -> None:
    key = Credential(id=1, secret=SECRET, origin=endpoint.origin)
    await (await egress.send(Held(), endpoint, CHAT, key, Timeouts(), soon())).read()


def named(trap: Provider, host: str = "api.test", **changes: object) -> Endpoint:
    url = f"http://{host}:{trap.port}/v1"
    origins = frozenset({f"http://{host}:{trap.port}"})
    return trap.endpoint(
        **({"base_url": url, "allowed_origins": origins, "allow_private_network": False} | changes)
    )


@pytest.mark.parametrize("form", FORMS)
async def test_no_spelling_of_a_url_reaches_a_private_listener(egress: Egress, form: str) -> None:
    async with provider(answering) as trap:
        with pytest.raises(AddressError):
            await send(
                egress,
                trap.endpoint(
                    base_url=form.replace("{p}", str(trap.port)), allow_private_network=False
                ),
            )
    assert trap.connections == 0


class Everything(frozenset[str]):
    """Allows every origin, so that neither scheme nor port is what refuses."""

    @override
    def __contains__(self, origin: object) -> bool:
        return True


@pytest.mark.parametrize("form", [f for f in FORMS if f != "https://api.test:{p}/v1"])
def test_neither_scheme_nor_port_is_what_refuses_them(form: str) -> None:
    with pytest.raises(AddressError):
        check_base_url(form.replace("{p}", "8443"), allowed_origins=Everything())


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%lo"],
        ["169.254.169.254"],
        ["nonsense"],
    ],
)
async def test_a_name_is_refused_for_any_one_of_its_addresses(answers: list[str]) -> None:
    async with provider(answering) as trap, egress_with(Names(answers)) as egress:
        with pytest.raises(NotSentError, match="not allowed"):
            await send(egress, named(trap))
    assert trap.connections == 0


async def test_a_name_that_rebinds_is_judged_at_every_lookup() -> None:
    names = Names(["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1"])
    async with provider(answering) as trap, egress_with(names) as egress:
        for _ in range(3):
            with pytest.raises(NotSentError):
                await send(egress, named(trap))
    assert len(names.asked) == 3
    assert trap.connections == 0


async def test_the_checked_address_is_the_one_connected_to_and_the_name_is_kept() -> None:
    """The name exists nowhere: only an address handed on from the check can have been used."""
    names = Names(["127.0.0.1"])
    async with provider(answering) as peer, egress_with(names) as egress:
        await send(egress, named(peer, "api.invalid", allow_private_network=True))
    assert peer.requests[0].headers["host"] == f"api.invalid:{peer.port}"
    assert names.asked == ["api.invalid"]


async def test_taking_the_flag_away_closes_the_door_it_opened() -> None:
    async with provider(answering) as peer, egress_with(Names(["127.0.0.1"])) as egress:
        await send(egress, named(peer, allow_private_network=True))
        with pytest.raises(NotSentError):
            await send(egress, named(peer))
    assert len(peer.requests) == 1


async def test_metadata_stays_refused_with_the_flag() -> None:
    async def never(peer: Peer) -> None:
        await peer.gone()

    async with provider(never) as trap, egress_with(Names(["169.254.169.254"])) as egress:
        with pytest.raises(NotSentError):
            await send(egress, named(trap, allow_private_network=True))
    for host in ("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16"):
        with pytest.raises(AddressError, match="metadata"):
            check_base_url(f"http://{host}/v1", allow_private=True)
    with pytest.raises(AddressError, match="metadata"):
        check_base_url("http://metadata.google.internal/", allow_private=True)


@pytest.mark.parametrize(
    ("url", "origin", "canonical"),
    [
        ("https://API.Test/v1/", "https://api.test:443", "https://api.test/v1"),
        ("HTTPS://api.test.:443", "https://api.test:443", "https://api.test"),
        (
            "https://bücher.test/v1",
            "https://xn--bcher-kva.test:443",
            "https://xn--bcher-kva.test/v1",
        ),
        ("https://8.8.8.8/v1", "https://8.8.8.8:443", "https://8.8.8.8/v1"),
        (
            "https://[2606:4700:0:0::1111]",
            "https://[2606:4700::1111]:443",
            "https://[2606:4700::1111]",
        ),
    ],
)
def test_one_origin_has_one_spelling(url: str, origin: str, canonical: str) -> None:
    base = check_base_url(url)
    assert (base.origin, base.url) == (origin, canonical)
    assert parse_base_url(base.url) == base


def test_plain_http_and_other_ports_are_the_operators_to_allow() -> None:
    allowed = {"http://api.test:80", "https://api.test:8443"}
    for url in ("http://api.test/v1", "https://api.test:8443/v1"):
        with pytest.raises(AddressError):
            check_base_url(url)
        assert check_base_url(url, allowed_origins=allowed).origin in allowed
    assert check_base_url("http://127.0.0.1:8900/v1", allow_private=True).port == 8900
    assert check_base_url("http://vllm_1:8000/v1", allow_private=True).host == "vllm_1"


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:806::200e"],
)
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    ("text", "with_flag"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("172.31.255.255", True),
        ("192.168.1.1", True),
        ("100.127.255.255", True),
        ("169.254.1.1", True),
        ("::1", True),
        ("fd12::1", True),
        ("0.0.0.0", False),  # noqa: S104 - judged, not bound
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("203.0.113.9", False),
        ("192.88.99.1", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::808:808", False),
        ("64:ff9b:1::1", False),
        ("2002:808:808::1", False),
        ("2001:db8::1", False),
        ("2001::1", False),
        ("100::1", False),
        ("ff02::1", False),
        ("fec0::1", False),
        ("5f00::1", False),
    ],
)
def test_everything_else_is_not_public(text: str, with_flag: bool) -> None:
    ip = ip_address(text)
    assert not is_public(ip)
    assert is_allowed(ip, allow_private=True) is with_flag
