"""What we authorised is what we send (`scorecard.md` S14)."""

import json
import random
from typing import Any

import pytest

from tests.harness.canary import canary
from tests.harness.config import API_KEY, PROVIDER_KEY
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect
from tests.harness.gateway import GatewayProcess
from tests.harness.hostile import answered, ask, connected, head, is_closed
from tests.legs import Figure
from tests.upstream.client import SeenCall, Upstream

pytestmark = pytest.mark.promise("S14")

CHAT, MESSAGES = OPENAI.path, ANTHROPIC.path
HELLO = [{"role": "user", "content": "hi"}]


def body_of(model: str, **fields: Any) -> bytes:
    return json.dumps({"model": model, "max_tokens": 8, "messages": HELLO, **fields}).encode()


WELL = body_of("alpha")
LENGTH = f"Content-Length: {len(WELL)}"
GOOD = head(CHAT, LENGTH) + WELL
CHUNKED = b"%x\r\n" % len(WELL) + WELL + b"\r\n0\r\n\r\n"
# What an attacker hides behind a request: nobody may take it for one.
_DEAR = body_of("beta")
HIDDEN = head(CHAT, f"Content-Length: {len(_DEAR)}") + _DEAR
TE = "Transfer-Encoding"

ATTACKS = {
    "length, then chunked": head(CHAT, LENGTH, f"{TE}: chunked") + CHUNKED,
    "chunked, then length": head(CHAT, f"{TE}: chunked", "Content-Length: 4") + CHUNKED,
    "two lengths": head(CHAT, LENGTH, "Content-Length: 0") + WELL,
    "the same length twice": head(CHAT, LENGTH, LENGTH) + WELL,
    "a list of lengths": head(CHAT, f"{LENGTH}, {len(WELL)}") + WELL,
    "a signed length": head(CHAT, f"Content-Length: +{len(WELL)}") + WELL,
    "a hexadecimal length": head(CHAT, f"Content-Length: {len(WELL):#x}") + WELL,
    "a negative length": head(CHAT, "Content-Length: -1") + WELL,
    "a length before a blank": head(CHAT, f"Content-Length : {len(WELL)}") + WELL,
    "xchunked": head(CHAT, f"{TE}: xchunked") + CHUNKED,
    "chunked in quotes": head(CHAT, f'{TE}: "chunked"') + CHUNKED,
    "chunked after a vertical tab": head(CHAT, f"{TE}: \x0bchunked") + CHUNKED,
    "chunked on the next line": head(CHAT, f"{TE}:\r\n chunked") + CHUNKED,
    "chunked before a blank": head(CHAT, f"{TE} : chunked") + CHUNKED,
    "chunked, then identity": head(CHAT, f"{TE}: chunked", f"{TE}: identity") + CHUNKED,
    "identity, then chunked": head(CHAT, f"{TE}: identity", f"{TE}: chunked") + CHUNKED,
    "chunked twice": head(CHAT, f"{TE}: chunked, chunked") + CHUNKED,
    "gzip, then chunked": head(CHAT, f"{TE}: gzip, chunked") + CHUNKED,
    "identity with a length": head(CHAT, f"{TE}: identity", LENGTH) + WELL,
    "bare line feeds": GOOD.replace(b"\r\n", b"\n"),
    "a bare carriage return": head(CHAT, "X-A: b\rX-Evil: c", LENGTH) + WELL,
    "a folded header": head(CHAT, "X-A: b\r\n c", LENGTH) + WELL,
    "a zero byte in a header": head(CHAT, "X-A: b\x00c", LENGTH) + WELL,
    "a control in a name": head(CHAT, "X\x01A: b", LENGTH) + WELL,
    "chunks after bare line feeds": head(CHAT, f"{TE}: chunked") + CHUNKED.replace(b"\r\n", b"\n"),
    "a chunk of negative size": head(CHAT, f"{TE}: chunked") + b"-1\r\n" + CHUNKED,
    "a chunk size that flows over": head(CHAT, f"{TE}: chunked") + b"f" * 17 + b"\r\n" + CHUNKED,
    "a chunk size after 0x": head(CHAT, f"{TE}: chunked") + b"0x" + CHUNKED,
    "HTTP/0.9": f"GET {CHAT}\r\n\r\n".encode(),
    "HTTP/2.0": head(CHAT, LENGTH, version="HTTP/2.0") + WELL,
    "no host": head(CHAT, LENGTH, host=None) + WELL,
    "two hosts": head(CHAT, "Host: localhost", LENGTH) + WELL,
    "two keys": head(CHAT, f"Authorization: Bearer {canary('api-key')}", LENGTH) + WELL,
    "two types": head(CHAT, "Content-Type: a/b", "Content-Type: c/d", LENGTH) + WELL,
    "two of our own": head(CHAT, "X-Mobius-Run: a", "X-Mobius-Run: b", LENGTH) + WELL,
    **{
        f"the host {host!r}": head(CHAT, LENGTH, host=host) + WELL
        for host in ("evil.test", "127.0.0.1@evil.test", "a/b?c#d", "127.0.0.1:80:80", "", "a b")
    },
    **{
        f"the path {path}": head(path, LENGTH) + WELL
        for path in (
            *("//v1/chat/completions", "/v1//chat/completions", "/v1/./chat/completions"),
            *("/v1/../v1/chat/completions", "/v1/%2e%2e/v1/chat/completions", "/v1/%2E/models"),
            *("/v1/..%2fadmin/", "/v1\\chat\\completions", "/v1/chat%5ccompletions", "/v1/%00"),
            *("/v1/chat/completions%0d%0aX-Evil:%20a", "/v1/%ff%fe", "/healthz/../v1/models"),
            *("/api/v1/../v1/models", "/admin/..%2fv1/models", "/mcp/../v1", "*", "v1/models"),
        )
    },
}
# Refused as well, but as what they are: paths that lead nowhere.
NOWHERE = ("/v1/chat/completions;x", "/V1/chat/completions", "/v1/chat/completions/", "/v1/%252e")


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_could_be_read_in_two_ways_is_refused_and_the_line_closed(
    served: GatewayProcess, upstream: Upstream, attack: str
) -> None:
    with connected(served.port) as line:
        line.sendall(GOOD)
        assert answered(line, 0).status == 200
        line.sendall(ATTACKS[attack] + HIDDEN)
        told = answered(line, 0)
        assert told.status in {400, 401}, told
        assert told.status == 400 or attack == "two keys"
        assert is_closed(line)
    assert upstream.order == ["alpha"]


@pytest.mark.parametrize("path", NOWHERE)
def test_a_path_that_is_not_spelt_so_leads_nowhere(
    served: GatewayProcess, upstream: Upstream, path: str
) -> None:
    assert ask(served.port, head(path, LENGTH) + WELL).status == 404
    assert upstream.calls == []


@pytest.mark.parametrize("path", ["/v1/%63hat/completions", "http://127.0.0.1/v1/chat/completions"])
def test_another_spelling_of_the_same_path_is_the_same(
    served: GatewayProcess, upstream: Upstream, path: str
) -> None:
    assert ask(served.port, head(path, LENGTH) + WELL).status == 200
    assert [(call.path, call.model) for call in upstream.calls] == [(CHAT, "alpha")]


def test_a_connection_goes_on_behind_a_whole_request(
    served: GatewayProcess, upstream: Upstream
) -> None:
    """The control of the attacks: what is honest is taken, chunked and pipelined too."""
    with connected(served.port) as line:
        line.sendall(GOOD + head(CHAT, f"{TE}: chunked") + CHUNKED + HIDDEN)
        assert [answered(line, 0).status for _ in range(3)] == [200, 200, 200]
    assert upstream.order == ["alpha", "alpha", "beta"]


# --- headers

FOREIGN = {
    **dict.fromkeys(("Cookie", "Proxy-Authorization", "X-Api-Key-Of", "X-Evil"), "evil"),
    **dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "Forwarded"), "203.0.113.9"),
    **dict.fromkeys(("X-Forwarded-Host", "X-Host", "X-Original-Host"), "evil.test"),
    **dict.fromkeys(("X-Original-URL", "X-Rewrite-URL"), "/admin/"),
    **dict.fromkeys(("X-HTTP-Method-Override", "X-Method-Override"), "DELETE"),
    **dict.fromkeys(("X-Remote-User", "X_Forwarded_For", "X_Api_Key", "Remote-User"), "operator"),
    "Connection": "keep-alive, X-Evil, Authorization",
    "Keep-Alive": "timeout=5",
    "TE": "trailers",
    "Upgrade": "h2c",
    "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA",
    "Accept-Encoding": "gzip, br",
    "User-Agent": "evil/1",
    "Origin": "https://evil.test",
    "Referer": "https://evil.test/?key=evil",
    "Via": "1.1 evil",
    "OpenAI-Organization": "org-evil",
    "OpenAI-Project": "proj-evil",
    "Accept-Language": "xx-evil",
    "If-None-Match": "evil",
    "Range": "bytes=0-1",
    "Traceparent": "00-evil",
}
TRAILERS = b"X-Evil: evil\r\nX-Api-Key: evil\r\nCookie: evil\r\nX-Mobius-Run: evil\r\n"
ALLOWED = {
    *("host", "user-agent", "accept", "accept-encoding", "content-type", "content-length"),
    *("authorization", "x-api-key", "x-mobius-hop", "anthropic-version"),
}


def foreign(call: SeenCall) -> list[str]:
    """Return what a provider was sent that is none of ours."""
    named = sorted(call.headers.keys() - ALLOWED)
    said = [name for name, value in call.headers.items() if "evil" in value or API_KEY in value]
    return named + said


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize("model", ["alpha", "claude"])
def test_no_header_of_a_caller_reaches_a_provider(
    served: GatewayProcess, upstream: Upstream, dialect: Dialect, model: str, figure: Figure
) -> None:
    lines = [f"{name}: {value}" for name, value in FOREIGN.items()]
    body = body_of(model)
    whole = b"%x\r\n" % len(body) + body + b"\r\n0\r\n" + TRAILERS + b"\r\n"
    assert ask(served.port, head(dialect.path, f"{TE}: chunked", *lines) + whole).status == 200
    first = head(dialect.path, f"Content-Length: {len(body)}", *lines)
    assert ask(served.port, first + body).status == 200
    found = [name for call in upstream.calls for name in foreign(call)]
    assert (len(upstream.calls), found) == (2, [])
    for call in upstream.calls:
        assert call.headers["host"] == f"127.0.0.1:{upstream.port}"
        assert call.headers["accept-encoding"] == "identity"
        assert call.headers["user-agent"].startswith("mobius/")
        keys = {call.headers.get("authorization", ""), call.headers.get("x-api-key", "")}
        assert keys <= {"", PROVIDER_KEY, f"Bearer {PROVIDER_KEY}"}
    figure("foreign headers at a provider", len(found), "0")


def test_a_list_of_several_lines_is_sent_whole(served: GatewayProcess, upstream: Upstream) -> None:
    lines = [f"anthropic-beta: {name}" for name in ("a-1", "b-2,c-3", "d-4")]
    body = body_of("claude")
    told = ask(served.port, head(MESSAGES, *lines, f"Content-Length: {len(body)}") + body)
    assert told.status == 200
    assert upstream.calls[0].headers["anthropic-beta"] == "a-1, b-2,c-3, d-4"


@pytest.mark.parametrize("value", ["a\x7f", "caf\xe9", "a\tb\x80"])
def test_a_header_for_a_provider_holds_plain_text(
    served: GatewayProcess, upstream: Upstream, value: str
) -> None:
    for path, name in ((CHAT, "OpenAI-Beta"), (MESSAGES, "anthropic-version")):
        body = body_of("alpha" if path == CHAT else "claude")
        told = ask(
            served.port, head(path, f"{name}: {value}", f"Content-Length: {len(body)}") + body
        )
        assert told.status == 400, told
    assert upstream.calls == []


def test_a_forwarded_address_hides_nobody(served: GatewayProcess) -> None:
    """Wrong keys are counted by who connects, whatever they say of where they come from."""
    statuses = []
    for number in range(22):
        lines = [f"X-Forwarded-For: 203.0.113.{number}", f"Forwarded: for=203.0.113.{number}"]
        first = head(CHAT, *lines, LENGTH, key=canary("api-key-wrong"))
        statuses.append(ask(served.port, first + WELL, source="127.0.3.7").status)
    assert statuses == [401] * 20 + [429] * 2


# --- what is asked

KNOWN = ("model", "messages", "max_tokens", "stream", "temperature", "tools", "stop", "user", "n")


def twins() -> dict[str, bytes]:
    """Return bodies in which two readers find two requests."""
    found = {"escaped": WELL[:-1] + rb',"mod\u0065l":"beta"}'}
    for name in KNOWN:
        found[f"{name} twice"] = WELL[:-1] + f',"{name}":1,"{name}":2}}'.encode()
        for other in (name.upper(), name.capitalize()):
            found[other] = WELL[:-1] + f',"{other}":"beta"}}'.encode()
    inner = b'"metadata":{"a":[{"b":1,"c":{"d":1,"d":2}}]}'
    found["deep inside"] = WELL[:-1] + b"," + inner + b"}"
    return found


@pytest.mark.parametrize("case", twins())
def test_a_parameter_is_there_once_and_in_one_spelling(
    served: GatewayProcess, upstream: Upstream, case: str
) -> None:
    body = twins()[case]
    for path in (CHAT, MESSAGES, "/v1/responses", "/api/v1/llm/complete"):
        told = ask(served.port, head(path, f"Content-Length: {len(body)}") + body)
        assert told.status == 400, (path, told)
    assert upstream.calls == []


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=1&LIMIT=2", "purpose=a&purpose=b"])
def test_a_word_of_a_query_is_there_once(served: GatewayProcess, query: str) -> None:
    assert ask(served.port, head(f"/v1/files?{query}", method="GET")).status == 400


def test_a_query_chooses_nothing(served: GatewayProcess, upstream: Upstream) -> None:
    first = head(f"{CHAT}?model=beta&model=claude&base_url=http://evil.test", LENGTH)
    assert ask(served.port, first + WELL).status in {200, 400}
    assert {(call.path, call.model) for call in upstream.calls} <= {(CHAT, "alpha")}


@pytest.mark.parametrize(
    "model", ["alpha\r\nX-Evil: 1", "alpha\x00", "../beta", "alpha?x=1", "alpha/"]
)
def test_a_name_that_is_more_than_one_is_no_model(
    served: GatewayProcess, upstream: Upstream, model: str
) -> None:
    body = body_of(model)
    told = ask(served.port, head(CHAT, f"Content-Length: {len(body)}") + body)
    assert told.status in {400, 404}, told
    assert upstream.calls == []


def values(rng: random.Random, depth: int = 0) -> Any:
    """Return some value of JSON that a parser could read otherwise."""
    plain: list[Any] = [
        *(
            rng.randrange(10**39),
            -rng.randrange(2**63),
            0,
            True,
            False,
            None,
            "",
            "é\u2028\U0001f600",
        ),
        *(rng.random(), rng.uniform(-1e15, 1e15), 1e-7, "a\r\nX-Evil: 1", '"}', "\\u0000", "NaN"),
    ]
    if depth > 2 or rng.random() < 0.6:
        return rng.choice(plain)
    inner = [values(rng, depth + 1) for _ in range(rng.randrange(4))]
    return inner if rng.random() < 0.5 else {f"k{place}": one for place, one in enumerate(inner)}


def test_what_was_authorised_is_what_is_sent(
    served: GatewayProcess, upstream: Upstream, figure: Figure
) -> None:
    rng = random.Random(14)
    wanted = []
    for number in range(200):
        fields = {f"x_{place}": values(rng) for place in range(3)}
        model = rng.choice(["alpha", "beta"])
        body = body_of(model, seed=number, temperature=rng.random(), **fields)
        told = ask(served.port, head(CHAT, f"Content-Length: {len(body)}") + body)
        assert told.status == 200, (body, told)
        wanted.append(json.loads(body))
    sent = [call.body for call in upstream.calls]
    equal = sum(one == other for one, other in zip(sent, wanted, strict=True))
    figure("requests sent as they were authorised, of 200", equal, "200")
    assert equal == len(wanted)
