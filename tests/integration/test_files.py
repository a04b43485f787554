"""Files are kept for their tenant alone; a batch of a file's lines is charged as the file says.

OpenAI's own client uploads, lists, reads and deletes files, and begins, shows, lists and stops
batches through the gateway.
"""

import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import API_KEY, budget, configuration, key, model, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.filing import FAILS
from tests.upstream.scripts import failing

OTHER_KEY, POOR_KEY = canary("api-key-of-another"), canary("api-key-poor")
NARROW_KEY, LISTER_KEY = canary("api-key-narrow"), canary("api-key-lister")
LATER_KEY = canary("api-key-later")
WORDS, MOST = 3, 8  # of a line's input, and its max_tokens
INPUT, OUTPUT = 500, 2000  # nano-dollars a token
REAL = WORDS * INPUT + MOST * OUTPUT  # what one line costs
ROOM = "0.0005"
CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
SETTLED_S, POLL_S = 30.0, 0.05
CLIENTS: list[openai.OpenAI] = []  # of the running test
MIB = 1024 * 1024


def served_by(gateway: GatewayProcess, upstream: Upstream) -> None:
    both: dict[str, Any] = {"price": ("0.50", "2.00"), "max_output_tokens": 64}
    rows = [
        model(
            "batched",
            upstream_name="gpt-up",
            capabilities=["chat", "stream", "tools", "batches"],
            **both,
        ),
        model("vectors", upstream_name="embed-up", capabilities=["embeddings", "batches"], **both),
        model("claude", "anthropic", capabilities=["chat", "batches"]),
        model("plain", capabilities=["chat", "responses", "vision", "tools"]),
    ]
    tenants = [
        tenant(),
        tenant("lister", keys=[key("lister", LISTER_KEY)]),
        tenant("later", keys=[key("later", LATER_KEY)]),
        tenant("other", keys=[key("other", OTHER_KEY)]),
        tenant("poor", keys=[key("poor", POOR_KEY)], budgets=[budget(ROOM)]),
        tenant("narrow", keys=[key("narrow", NARROW_KEY, models=["plain"])]),
    ]
    gateway.apply(configuration(upstream.base_url, models=rows, routes=[], tenants=tenants))
    gateway.serve()


@pytest.fixture(scope="module")
def filing(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Any,
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("files"), output) as gateway:
        served_by(gateway, upstream_process)
        yield gateway


def client(gateway: GatewayProcess, secret: str = API_KEY) -> openai.OpenAI:
    made = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0, timeout=30)
    CLIENTS.append(made)
    return made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


def line(name: str, url: str = CHAT, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": " ".join(["word"] * WORDS)}
    body = {"model": "batched", "max_completion_tokens": MOST, "messages": [message], **fields}
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def written(*lines: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


def uploaded(gateway: GatewayProcess, content: bytes, secret: str = API_KEY) -> str:
    sdk = client(gateway, secret).files
    return sdk.create(file=("requests.jsonl", content), purpose="batch").id


def begun(gateway: GatewayProcess, file_id: str, secret: str = API_KEY) -> tuple[str, str]:
    """Return the ids of a new batch and of the request that began it."""
    raw = client(gateway, secret).batches.with_raw_response.create(
        input_file_id=file_id, endpoint=CHAT, completion_window="24h", metadata={"for": "us"}
    )
    return raw.parse().id, raw.headers["x-request-id"]


def charged(gateway: GatewayProcess, request_id: str) -> int:
    return sum(entry["amount_nano"] for entry in Books(gateway).entries(request_id))


# --- files


def test_a_file_is_kept_listed_read_and_deleted(filing: GatewayProcess, upstream: Upstream) -> None:
    sdk, before = client(filing, LISTER_KEY).files, len(Books(filing).entries())
    content = 'Grüße, {"file_id": "in a text"}\r\n--b'.encode()
    kept = sdk.create(
        file=('"Grüße".txt', content, "text/plain"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    (form,) = upstream.seen().forms
    assert [name for name, _, _ in form] == [
        "purpose",
        "expires_after[anchor]",
        "expires_after[seconds]",
        "file",
    ]
    assert (kept.purpose, kept.bytes, kept.object) == ("user_data", len(content), "file")
    another = sdk.create(file=("b.txt", b"b"), purpose="assistants")
    assert sdk.retrieve(kept.id) == kept
    assert sdk.content(kept.id).content == content
    ids = [one.id for one in sdk.list()]
    assert ids == [another.id, kept.id]
    assert [one.id for one in sdk.list(purpose="user_data")] == [kept.id]
    first = sdk.list(limit=1)
    assert (first.has_more, [one.id for one in first.data]) == (True, [another.id])
    assert [one.id for one in sdk.list(after=another.id, limit=1).data] == [kept.id]
    assert sdk.list(order="asc", limit=1, after=kept.id).data[0].id == another.id
    assert sdk.list(order="asc", after="file-nobody").data == []
    with pytest.raises(openai.BadRequestError):
        sdk.list(limit=0)

    assert sdk.delete(kept.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.retrieve(kept.id)
    assert kept.id not in [one.id for one in sdk.list()]
    assert len(Books(filing).entries()) == before


def test_a_file_is_unknown_to_everybody_else(filing: GatewayProcess, upstream: Upstream) -> None:
    mine = client(filing).files.create(file=("a.txt", b"mine"), purpose="user_data").id
    lines = uploaded(filing, written(line("a")))
    other = client(filing, OTHER_KEY)
    before = upstream.seen().asked
    for ask in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError):
            ask(mine)
    with pytest.raises(openai.NotFoundError):
        client(filing).files.retrieve("file-nobody")
    with pytest.raises(openai.NotFoundError) as caught:
        begun(filing, lines, OTHER_KEY)
    assert caught.value.param == "input_file_id"
    assert other.files.list().data == []
    assert upstream.seen().asked == before
    assert upstream.calls == []


ATTACHED = [
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}),
    ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
    (
        "/v1/responses",
        {
            "input": "hi",
            "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
        },
    ),
]


def naming(file_id: str, body: Any) -> bytes:
    """Return a body that names a file, with the name of the field spelled in a way of its own."""
    text = json.dumps({"model": "plain", **body})
    for empty, told in (
        ('"file": {}', f'"file": {{"file\\u005fid": "{file_id}"}}'),
        ('"type": "input_file"', f'"type": "input_file", "file_id": "{file_id}"'),
        ('"type": "auto"', f'"type": "auto", "file_ids": ["{file_id}"]'),
    ):
        text = text.replace(empty, told)
    assert file_id in text
    return text.encode()


@pytest.mark.parametrize(("path", "body"), ATTACHED, ids=["chat", "responses", "container"])
def test_a_request_names_files_of_its_own_tenant_alone(
    filing: GatewayProcess, upstream: Upstream, path: str, body: Any
) -> None:
    mine = client(filing).files.create(file=("a.txt", b"mine"), purpose="user_data").id
    asked = naming(mine, body)
    told = fetch(filing.url, "POST", path, asked, {"x-api-key": OTHER_KEY})
    assert (told.status, OPENAI.error(told)["param"]) == (404, "file_id"), told.text
    assert upstream.calls == []
    told = fetch(filing.url, "POST", path, asked, {"x-api-key": API_KEY})
    assert told.status == 200, told.text


@pytest.mark.parametrize(("path", "body"), ATTACHED, ids=["chat", "responses", "container"])
def test_a_file_that_no_tenant_gave_us_may_be_the_operators(
    filing: GatewayProcess, upstream: Upstream, path: str, body: Any
) -> None:
    asked = naming("file-of-the-operator", body)
    told = fetch(filing.url, "POST", path, asked, {"x-api-key": API_KEY})
    assert told.status == 200, told.text
    assert "file-of-the-operator" in json.dumps(upstream.calls[-1].body)


LATER = """
from datetime import UTC, datetime, timedelta
from llm_gateway.models import KeptObject
from llm_gateway.service.keeper import forget_old
rows, now = KeptObject.all_tenants_unsafe.filter(tenant__name="later"), datetime.now(UTC)
rows.update(seen_at=now - timedelta(days=31))
rows.exclude(expires_at=None).update(expires_at=now - timedelta(seconds=1))
forget_old()
"""


def test_a_file_is_known_until_it_expires_or_is_deleted(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    sdk = client(filing, LATER_KEY)
    lasting = sdk.files.create(file=("a.txt", b"a"), purpose="user_data").id
    expiring = sdk.files.create(
        file=("b.txt", b"b"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    ).id
    batch_id, _ = begun(filing, uploaded(filing, written(line("a")), LATER_KEY), LATER_KEY)
    filing.managed("shell", "-c", LATER)
    assert sdk.files.retrieve(lasting).id == lasting
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(expiring)
    assert sdk.batches.retrieve(batch_id).id == batch_id  # its results are owed
    upstream.open_gate(batch_id)
    sdk.batches.retrieve(batch_id)
    filing.managed("shell", "-c", LATER)
    assert sdk.batches.list().data == []


def test_a_file_goes_to_the_provider_that_is_named(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    sdk = client(filing).files
    named = {"x-mobius-provider": "openai"}
    raw = sdk.with_raw_response.create(
        file=("a.txt", b"a"), purpose="user_data", extra_headers=named
    )
    assert raw.headers["x-mobius-provider"] == "openai"
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.create(
            file=("a.txt", b"a"),
            purpose="user_data",
            extra_headers={"x-mobius-provider": "anthropic"},
        )
    assert caught.value.param == "x-mobius-provider"
    assert len(upstream.seen().forms) == 1


def test_a_file_that_is_declared_too_large_is_refused_unread(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    headers = {
        "x-api-key": API_KEY,
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": str(64 * MIB),
    }
    told = fetch(filing.url, "POST", "/v1/files", b"", headers)
    assert (told.status, told.code) == (413, "request_too_large")
    assert upstream.seen().forms == []


# --- batches


def test_a_batch_is_charged_its_bound_and_then_what_it_used(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    sdk = client(filing)
    lines = written(line("one"), line("two"), line(f"{FAILS}-three"))
    file_id = uploaded(filing, lines)
    (form,) = upstream.seen().forms
    asked = [json.loads(one) for one in form[-1][2].splitlines()]
    assert [one["body"]["model"] for one in asked] == ["gpt-up"] * 3
    assert sdk.files.content(file_id).text.count('"model":"batched"') == 3

    batch_id, request_id = begun(filing, file_id)
    (entry,) = Books(filing).entries(request_id)
    assert (entry["outcome"], bool(entry["estimated"])) == ("settled", True)
    sent = len(form[-1][2].encode())  # no token is shorter than a byte
    assert entry["amount_nano"] == entry["hold_nano"] > sent * INPUT + 3 * MOST * OUTPUT
    assert Books(filing).holds(request_id) == []
    running = sdk.batches.retrieve(batch_id)
    assert (running.status, running.model, running.output_file_id) == (
        "in_progress",
        "batched",
        None,
    )
    assert [one.id for one in sdk.batches.list(limit=1).data] == [batch_id]
    assert len(Books(filing).entries(request_id)) == 1

    upstream.open_gate(batch_id)
    (listed,) = sdk.batches.list(limit=1).data
    assert listed.status == "completed"
    _, correction = Books(filing).entries(request_id)
    assert (correction["kind"], bool(correction["estimated"])) == ("correction", False)
    assert charged(filing, request_id) == 2 * REAL
    assert sdk.batches.retrieve(batch_id).status == "completed"
    assert charged(filing, request_id) == 2 * REAL  # again: nothing is charged twice
    assert Books(filing).audit().ok


def test_what_came_of_a_batch_is_read_by_its_tenant(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    sdk = client(filing)
    lines = written(line("one"), line("two"), line(f"{FAILS}-three"))
    batch_id, _ = begun(filing, uploaded(filing, lines))
    upstream.open_gate(batch_id)
    shown = sdk.batches.retrieve(batch_id)
    assert shown.output_file_id is not None
    assert shown.error_file_id is not None
    answers = [json.loads(one) for one in sdk.files.content(shown.output_file_id).iter_lines()]
    assert [one["custom_id"] for one in answers] == ["one", "two"]
    assert {one["response"]["body"]["model"] for one in answers} == {"batched"}
    failed = sdk.files.content(shown.error_file_id).text
    assert json.loads(failed)["custom_id"] == f"{FAILS}-three"
    kept = [one.id for one in sdk.files.list(purpose="batch_output")]
    assert kept[:2] == [shown.error_file_id, shown.output_file_id]
    with pytest.raises(openai.NotFoundError):
        client(filing, OTHER_KEY).files.content(shown.output_file_id)


@pytest.mark.promise("M5")
def test_a_hard_budget_binds_batches_until_their_results_are_known(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    many = uploaded(filing, written(*(line(f"n{n}") for n in range(40))), POOR_KEY)
    with pytest.raises(openai.APIStatusError) as caught:
        begun(filing, many, POOR_KEY)
    assert caught.value.status_code == 402
    assert caught.value.response.headers["x-mobius-code"] == "insufficient_quota"
    assert upstream.calls == []

    few = uploaded(filing, written(line("one"), line("two")), POOR_KEY)
    batch_id, request_id = begun(filing, few, POOR_KEY)
    with pytest.raises(openai.APIStatusError):
        begun(filing, few, POOR_KEY)
    upstream.open_gate(batch_id)
    client(filing, POOR_KEY).batches.retrieve(batch_id)
    assert charged(filing, request_id) == 2 * REAL
    begun(filing, few, POOR_KEY)
    assert Books(filing).audit().ok


@pytest.mark.promise("M5")
def test_a_line_without_a_limit_is_sent_with_one(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    file_id = uploaded(filing, written(line("one", max_completion_tokens=None)))
    (form,) = upstream.seen().forms
    assert json.loads(form[-1][2])["body"]["max_completion_tokens"] == 64
    _, request_id = begun(filing, file_id)
    assert charged(filing, request_id) > 64 * OUTPUT


def test_a_batch_of_vectors_is_charged_its_input(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    body = {"model": "vectors", "input": "one two three"}
    asked = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body}
    file_id = uploaded(filing, written(asked))
    with pytest.raises(openai.BadRequestError) as caught:
        begun(filing, file_id)
    assert caught.value.param == "endpoint"
    raw = client(filing).batches.with_raw_response.create(
        input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h"
    )
    batch_id, request_id = raw.parse().id, raw.headers["x-request-id"]
    upstream.open_gate(batch_id)
    assert client(filing).batches.retrieve(batch_id).status == "completed"
    assert charged(filing, request_id) == 3 * INPUT


def test_a_batch_is_unknown_to_everybody_else(filing: GatewayProcess, upstream: Upstream) -> None:
    batch_id, _ = begun(filing, uploaded(filing, written(line("one"))))
    other, before = client(filing, OTHER_KEY).batches, upstream.seen().asked
    for ask in (other.retrieve, other.cancel):
        with pytest.raises(openai.NotFoundError):
            ask(batch_id)
    with pytest.raises(openai.NotFoundError):
        client(filing).batches.retrieve("batch_nobody")
    assert other.list().data == []
    # Nor is it known by another name: what a provider does not know is forgotten.
    for path in (f"/v1/files/{batch_id}", f"/v1/responses/{batch_id}"):
        assert fetch(filing.url, "GET", path, None, {"x-api-key": API_KEY}).status == 404
    path = f"/v1/messages/batches/{batch_id}"
    assert fetch(filing.url, "GET", path, None, {"x-api-key": API_KEY}).status == 404
    assert upstream.seen().asked == before
    assert client(filing).batches.cancel(batch_id).id == batch_id


def test_a_batch_is_begun_once_whatever_becomes_of_it(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    file_id = uploaded(filing, written(line("one")))
    upstream.script("gpt-up", failing(500), failing(500))
    with pytest.raises(openai.InternalServerError):
        begun(filing, file_id)
    assert len(upstream.calls) == 1


def test_a_file_of_another_purpose_begins_no_batch(
    filing: GatewayProcess, upstream: Upstream
) -> None:
    sdk = client(filing)
    kept = sdk.files.create(file=("a.jsonl", written(line("a"))), purpose="user_data")
    with pytest.raises(openai.BadRequestError) as caught:
        begun(filing, kept.id)
    assert caught.value.param == "input_file_id"
    assert upstream.calls == []


STORED: list[tuple[bytes, str]] = [
    (b"", "file"),
    (b"{", "lines[1]"),
    (written(line("a"), line("a")), "lines[2].custom_id"),
    (written(line("a"), line("b", model="plain")), "lines[2].body.model"),
    (written(line("a"), line("b", user="b")), "lines[2].body"),
    (written(line("a"), line("b", "/v1/embeddings", input="hi")), "lines[2].url"),
    (written(line("a", stream=True)), "lines[1].body.stream"),
    (written(line("a", api_key="k")), "lines[1].body.api_key"),
    (written(line("a", messages="hi")), "lines[1].body.messages"),
    (written(line("a", model="plain")), "model"),
    (written(line("a", model="nobody")), "model"),
]


@pytest.mark.parametrize(("content", "param"), STORED, ids=range(len(STORED)))
def test_what_is_wrong_with_a_file_of_requests_is_named_and_nothing_is_sent(
    filing: GatewayProcess, upstream: Upstream, content: bytes, param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        uploaded(filing, content)
    error = caught.value
    assert isinstance(error, openai.BadRequestError | openai.NotFoundError)
    assert (error.param or "model") == param, error
    assert upstream.seen().forms == []


# Keys are others in each process: they name no case.
@pytest.mark.parametrize(
    ("name", "secret"), [("batched", NARROW_KEY), ("claude", API_KEY)], ids=["model", "dialect"]
)
def test_the_lines_of_a_file_are_authorised_when_it_comes(
    filing: GatewayProcess, upstream: Upstream, name: str, secret: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        uploaded(filing, written(line("a", model=name)), secret)
    assert 400 <= caught.value.status_code < 500
    assert upstream.seen().forms == []


def test_messages_are_no_batch_of_lines(filing: GatewayProcess, upstream: Upstream) -> None:
    """A model takes batches in the words of its provider alone."""
    params = {"model": "batched", "max_tokens": 8, "messages": [{"role": "user", "content": "a"}]}
    body = json.dumps({"requests": [{"custom_id": "a", "params": params}]}).encode()
    told = fetch(filing.url, "POST", "/v1/messages/batches", body, {"x-api-key": API_KEY})
    assert (told.status, ANTHROPIC.error(told)["param"]) == (400, "model")
    assert upstream.calls == []


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_a_batch_that_nobody_asks_for_is_charged_after_a_crash_too(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    served_by(gateway, upstream)
    batch_id, request_id = begun(gateway, uploaded(gateway, written(line("one"))))
    gateway.kill9()
    upstream.open_gate(batch_id)
    gateway.serve()
    until = time.monotonic() + SETTLED_S
    while charged(gateway, request_id) != REAL:
        assert time.monotonic() < until, Books(gateway).entries(request_id)
        time.sleep(POLL_S)
    (shown,) = client(gateway).batches.list().data
    assert shown.status == "completed"
    assert client(gateway).files.content(str(shown.output_file_id)).text
    assert Books(gateway).audit().ok


def test_a_form_that_is_not_understood_is_refused(filing: GatewayProcess) -> None:
    told = form(filing, b"--b--\r\n")
    assert (told.status, OPENAI.error(told)["param"]) == (400, "file")
    told = fetch(filing.url, "POST", "/v1/files", b"{}", {"x-api-key": API_KEY})
    assert (told.status, OPENAI.error(told)["param"]) == (400, "content-type")


def form(gateway: GatewayProcess, body: bytes) -> Told:
    headers = {"x-api-key": API_KEY, "Content-Type": "multipart/form-data; boundary=b"}
    return fetch(gateway.url, "POST", "/v1/files", body, headers)
