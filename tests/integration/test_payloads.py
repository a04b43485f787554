"""What requests said is kept as their tenant wants it, sealed, and read by few, who are noted."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from typing_extensions import override

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import configuration, key, models, nano_prices, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, failing, stream

LEVELS = ("none", "redacted", "full", "setting")
KEPT = {"none": "none", "redacted": "redacted", "full": "full", "setting": "redacted"}
SCOPES = ["inference", "usage", "manage"]
TABLE = "llm_gateway_requestpayload"
PATIENCE_S = 30.0
EMAIL, SECRET = "jane@mail.example", "[secret]"

pytestmark = pytest.mark.promise("S3")


class Responses(Dialect):
    """The same with another name for the messages."""

    @override
    def body(self, model: str, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
        return {"model": model, "input": fields["content"], "stream": stream}


class Gemini(Dialect):
    """The model stands in the path, and so does the wish for a stream."""

    @override
    def ask(self, url: str, model: str, *, stream: bool = False, **fields: Any) -> Told:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        said = {"contents": [{"role": "user", "parts": [{"text": fields["content"]}]}]}
        headers = {"Authorization": f"Bearer {fields['key']}"}
        body = json.dumps(said).encode()
        return fetch(url, "POST", f"/v1beta/models/{model}:{method}", body, headers)


DIALECTS = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "responses": Responses("responses", "/v1/responses", "response.completed"),
    "gemini": Gemini("gemini", "", ""),
    "native": Dialect("native", "/api/v1/llm/complete", ""),
}


NATIVE_STREAM = Dialect("native", "/api/v1/llm/stream", "[DONE]")


def value(level: str, kind: str = "boss") -> str:
    return KEYS[level, kind]


KEYS = {
    (level, kind): canary(f"api-key-{level}-{kind}") for level in LEVELS for kind in ("boss", "app")
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def keeping(
    request: pytest.FixtureRequest,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Any,
) -> Iterator[GatewayProcess]:
    databases = request.getfixturevalue(f"{request.param}_databases")
    tenants = [
        tenant(
            level,
            keys=[key("boss", value(level), scopes=SCOPES), key("app", value(level, "app"))],
            **({} if level == "setting" else {"log_payloads": level}),
        )
        for level in LEVELS
    ]
    wanted = configuration(upstream_process.base_url, tenants=tenants)
    wanted["settings"] = {"log_payloads": "redacted"}
    with installed(databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def gateway(keeping: GatewayProcess, upstream: Upstream) -> GatewayProcess:
    upstream.prices(**nano_prices(models()))
    return keeping


def secret(kind: str) -> str:
    """Return a provider's key that a person pasted."""
    return f"sk-proj-{canary(kind)}"


def look(gateway: GatewayProcess, level: str, request_id: str, kind: str = "boss") -> Any:
    """Return what the API tells of a request, once it is in the log; asked as `kind` once."""

    def told(who: str) -> Told:
        headers = {"Authorization": f"Bearer {value(level, who)}"}
        return fetch(gateway.url, "GET", f"/api/v1/requests/{request_id}", headers=headers)

    until(lambda: told("app").status == HTTPStatus.OK, PATIENCE_S)
    return told(kind).json


def check_nowhere(gateway: GatewayProcess, *secrets: str) -> None:
    """Fail where a secret stands in a table, in the log or in the metrics."""
    books = Books(gateway)
    places = {table: repr(books.rows(table)) for table in books.tables()}
    places["log"] = gateway.log
    places["metrics"] = fetch(gateway.url, "GET", "/metrics").text
    assert len(places[TABLE]) > 100
    for one in secrets:
        assert [place for place, text in places.items() if one in text] == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_a_tenant_keeps_what_it_wants(
    gateway: GatewayProcess, upstream: Upstream, dialect: str, streams: bool
) -> None:
    door = NATIVE_STREAM if dialect == "native" and streams else DIALECTS[dialect]
    model = "claude" if dialect == "anthropic" else "alpha"
    seen: list[str] = []
    for level in LEVELS:
        asked, said = secret("asked"), secret("said")
        seen += [asked, said]
        pieces = [said[n : n + 3] for n in range(0, len(said), 3)]
        upstream.script(model, stream("Use ", *pieces, " now"))
        content = f"My key is {asked}, mail {EMAIL}"
        asking = {"content": content, "key": value(level, "app"), "max_tokens": 99}
        told = door.ask(gateway.url, model, stream=streams and door is not NATIVE_STREAM, **asking)
        assert told.status == HTTPStatus.OK, told.text
        found = look(gateway, level, told.request_id)["payload"]
        check_kept(KEPT[level], found, asked, said)
    check_nowhere(gateway, *seen)


def check_kept(level: str, payload: Any, asked: str, said: str) -> None:
    if level == "none":
        assert payload is None
        return
    assert payload["level"] == level
    request, answered = json.dumps(payload["request"]), json.dumps(payload["answer"])
    if level == "full":
        assert f"My key is {asked}, mail {EMAIL}" in request
        assert f"Use {said} now" in answered
    else:
        assert f"My key is {SECRET}, mail [email]" in request
        assert f"Use {SECRET} now" in answered
        assert "CANARY" not in request + answered
    assert payload["request"]["size"] > len(asked)
    assert not payload["request"]["cut"]
    assert not payload["answer"]["cut"]


def test_media_and_long_texts_are_cut(gateway: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("alpha", answer("seen"))
    picture = "data:image/png;base64," + "QUJD" * 5000
    content = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": "word " * 100_000},
    ]
    told = OPENAI.ask(gateway.url, "alpha", content=content, key=value("full", "app"))
    assert told.status == HTTPStatus.OK, told.text
    payload = look(gateway, "full", told.request_id)["payload"]
    request = payload["request"]
    text = json.dumps(request["body"])
    assert "[image/png, 15000 bytes]" in text
    assert "QUJDQUJD" not in text
    assert request["cut"]
    assert "[cut: 500000 characters in all]" in text
    assert len(text) < 300_000
    assert request["size"] > 500_000
    assert "seen" in json.dumps(payload["answer"])


def test_what_was_refused_is_kept_without_an_answer(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("alpha", failing(400, "no such thing"))
    told = OPENAI.ask(gateway.url, "alpha", content="please", key=value("full", "app"))
    assert told.status == HTTPStatus.BAD_REQUEST
    payload = look(gateway, "full", told.request_id)["payload"]
    assert payload["answer"] is None
    assert "please" in json.dumps(payload["request"])


def test_contents_are_for_who_manages_and_each_look_is_noted(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("alpha", answer("hello"))
    told = OPENAI.ask(gateway.url, "alpha", content="hi", key=value("full", "app"))
    assert look(gateway, "full", told.request_id)["payload"] is not None
    assert "payload" not in look(gateway, "full", told.request_id, "app")
    headers = {"Authorization": f"Bearer {value('redacted')}"}
    foreign = fetch(gateway.url, "GET", f"/api/v1/requests/{told.request_id}", headers=headers)
    assert foreign.status == HTTPStatus.NOT_FOUND
    listed = fetch(
        gateway.url,
        "GET",
        "/api/v1/requests",
        headers={"Authorization": f"Bearer {value('full')}"},
    )
    assert "payload" not in listed.text
    looks = [
        row
        for row in Books(gateway).rows("tenants_auditevent")
        if row["action"] == "payload read" and UUID(row["object_id"]) == UUID(told.request_id)
    ]
    # The key for usage alone has seen none.
    assert [(row["tenant_name"], row["object_type"]) for row in looks] == [
        ("full", "requestpayload")
    ]


def test_another_master_key_opens_them_after_a_rotation(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("alpha", answer("hello"))
    told = OPENAI.ask(gateway.url, "alpha", content="hi", key=value("full", "app"))
    before = look(gateway, "full", told.request_id)["payload"]
    assert "payloads of requests" in gateway.managed("rotate_master_key")
    assert look(gateway, "full", told.request_id)["payload"] == before
