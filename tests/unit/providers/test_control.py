"""Key checks and model lists by the official SDKs, over a real socket."""

import subprocess
import sys
from datetime import UTC, datetime

import msgspec
import pytest

from llm_gateway.errors import UpstreamError
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.control import Control, DiscoveredModel, discover, verify
from llm_gateway.providers.egress import Egress
from tests.unit.providers.wire import SECRET, Peer, Provider, Script, provider

OPENAI_LIST = {
    "object": "list",
    "data": [
        {"id": "gpt-b", "object": "model", "created": 1700000000, "owned_by": "acme"},
        {"id": "gpt-a", "object": "model", "created": None, "context_length": 128000},
    ],
}


def listing(
    body: object, *, status: str = "200 OK", media_type: str = "application/json"
) -> Script:
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            headers = f"Content-Type: {media_type}\r\n"
            await peer.answer(encoded, status=status, headers=headers)

    return script


def asking(
    egress: Egress, peer: Provider, sdk: str | None = "openai", **changes: object
) -> Control:
    endpoint = peer.endpoint(**changes)
    key = Credential(id=1, secret=SECRET, origin=endpoint.origin)
    return Control(egress=egress, endpoint=endpoint, credential=key, sdk=sdk)


async def test_models_of_an_openai_kind_are_listed_with_our_own_headers(
    egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-operator")
    async with provider(listing(OPENAI_LIST)) as peer:
        models = await discover(asking(egress, peer))
    assert models == (
        DiscoveredModel(id="gpt-a", context_window=128000),
        DiscoveredModel(id="gpt-b", created=1700000000, owned_by="acme"),
    )
    request = peer.requests[0]
    assert request.line == "GET /v1/models HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["user-agent"] == "mobius/0.0-test"
    assert not {"openai-organization", "x-stainless-lang"} & set(request.headers)


async def test_models_of_anthropic_are_read_page_by_page(egress: Egress) -> None:
    created = datetime(2026, 1, 2, tzinfo=UTC)

    def page(id_: str, *, more: bool) -> bytes:
        model = {
            "type": "model",
            "id": id_,
            "display_name": id_.title(),
            "created_at": created,
            "capabilities": {
                "image_input": {"supported": True},
                "batch": {"supported": True},
                "structured_outputs": {"supported": False},
            },
        }
        return msgspec.json.encode(
            {"data": [model], "has_more": more, "first_id": id_, "last_id": id_}
        )

    async def two_pages(peer: Peer) -> None:
        headers = "Content-Type: application/json\r\n"
        while (request := await peer.request()) is not None:
            more = "after_id" not in request.line
            await peer.answer(page("claude-b" if more else "claude-a", more=more), headers=headers)

    async with provider(two_pages) as peer:
        control = asking(
            egress,
            peer,
            "anthropic",
            base_url=f"http://127.0.0.1:{peer.port}",
            auth="x-api-key",
            protocol="anthropic_messages",
            default_headers=(("anthropic-version", "2023-06-01"),),
        )
        verification = await verify(control)
    assert verification.ok
    assert [m.id for m in verification.models] == ["claude-a", "claude-b"]
    assert verification.models[0].title == "Claude-A"
    assert verification.models[0].capabilities == {"vision", "batches"}
    assert verification.models[0].created == int(created.timestamp())
    assert peer.requests[0].line.startswith("GET /v1/models?limit=1000 ")
    assert peer.requests[0].headers["x-api-key"] == SECRET
    assert peer.requests[0].headers["anthropic-version"] == "2023-06-01"


async def test_models_of_gemini_are_read_page_by_page(egress: Egress) -> None:
    def page(name: str, token: str) -> bytes:
        model = {
            "name": f"models/{name}",
            "displayName": name.title(),
            "inputTokenLimit": 9,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
            "thinking": True,
        }
        return msgspec.json.encode({"models": [model], "nextPageToken": token})

    async def two_pages(peer: Peer) -> None:
        headers = "Content-Type: application/json; charset=UTF-8\r\n"
        while (request := await peer.request()) is not None:
            first = "pageToken" not in request.line
            await peer.answer(page("b", "x/y=") if first else page("a", ""), headers=headers)

    async with provider(two_pages) as peer:
        control = asking(
            egress,
            peer,
            "gemini",
            base_url=f"http://127.0.0.1:{peer.port}",
            auth="x-goog-api-key",
            protocol="gemini",
        )
        models = await discover(control)
    able = frozenset({"chat", "reasoning"})
    assert models == (
        DiscoveredModel(id="a", title="A", context_window=9, capabilities=able),
        DiscoveredModel(id="b", title="B", context_window=9, capabilities=able),
    )
    assert [request.line for request in peer.requests] == [
        "GET /v1beta/models?pageSize=1000 HTTP/1.1",
        "GET /v1beta/models?pageSize=1000&pageToken=x%2Fy%3D HTTP/1.1",
    ]
    assert peer.requests[0].headers["x-goog-api-key"] == SECRET


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("401 No", "The provider refused the key."),
        ("403 No", "does not let it list"),
        ("404 No", "check the base URL"),
        ("429 No", "try again later"),
        ("500 No", "status 500"),
        ("302 Found", "status 302"),
    ],
)
async def test_a_refusal_is_one_sentence_and_one_request(
    egress: Egress, status: str, sentence: str
) -> None:
    text = {"error": {"message": f"Incorrect API key provided: {SECRET}"}}
    async with provider(listing(text, status=status)) as peer:
        verification = await verify(asking(egress, peer))
    assert not verification.ok
    assert sentence in verification.message
    assert SECRET not in verification.message
    assert len(peer.requests) == 1


@pytest.mark.parametrize("sdk", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"1", b'{"data": 1}', b'{"data": [1]}', b'{"data": [{"id": 3}]}'],
)
async def test_an_odd_list_is_a_sentence_or_empty_never_a_crash(
    egress: Egress, sdk: str, body: bytes
) -> None:
    async with provider(listing(body)) as peer:
        verification = await verify(asking(egress, peer, sdk))
    assert verification.models == ()


async def test_a_web_page_is_no_model_list(egress: Egress) -> None:
    async with provider(listing(b"<html>", media_type="text/html")) as peer:
        verification = await verify(asking(egress, peer))
    assert verification.message == "The provider answered with something else than JSON."


async def test_an_unreachable_provider_is_a_sentence(egress: Egress) -> None:
    async with provider(listing({})) as peer:
        control = asking(egress, peer)
    verification = await verify(control)
    assert verification.message == "The provider could not be reached: the connection was refused."
    with pytest.raises(UpstreamError) as caught:
        await discover(control)
    assert caught.value.__context__ is None


async def test_a_kind_without_an_sdk_says_so(egress: Egress) -> None:
    async with provider(listing({})) as peer:
        verification = await verify(asking(egress, peer, None))
    assert not verification.ok
    assert peer.connections == 0


def test_importing_control_imports_no_sdk() -> None:
    code = (
        "import sys, llm_gateway.providers.control;"
        "print([m for m in ('openai', 'anthropic', 'httpx2', 'django') if m in sys.modules])"
    )
    run = [sys.executable, "-c", code]
    shown = subprocess.run(run, capture_output=True, check=True, text=True)  # noqa: S603 - our own
    assert shown.stdout.strip() == "[]"
