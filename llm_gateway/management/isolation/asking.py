"""Ask over one connection that is kept, as somebody, and judge what the answer gives away."""

import http.client
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from msgspec import Struct
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from llm_gateway.access import AUTHZ_MATRIX, SignedIn, may, seated
from llm_gateway.management.isolation import tenancy
from llm_gateway.management.isolation.matrix import TOOLS, Question
from llm_gateway.management.isolation.tenancy import Town
from tenants.rights import ROLES, Role

TIMEOUT_S = 20.0
_TOKEN = "a" * 32  # any will do: what counts is that cookie and header are the same
_ANY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")
# What a page has anew each time it is made.
_TOKENS = re.compile(r'(?:nonce|value)="[\w-]{16,}"')
_NOT_LET_IN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}
REFUSED = {
    *_NOT_LET_IN,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.FOUND,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
}


# Everybody who asks: nobody at all, and all there are of a tenant.
ACTORS = ("nobody", *(f"{name} key" for name in tenancy.SCOPES), *ROLES)


class Actor(Struct, frozen=True, kw_only=True):
    """Who asks: with a key, with a session, or with nothing at all."""

    name: str
    key: str = ""
    scopes: frozenset[str] = frozenset()
    session: str = ""
    role: Role | None = None
    operator: bool = False

    def may(self, method: str, route: str) -> bool:
        """Say whether the table lets them call a route at all."""
        kind = "ws" if method == "-" else "http"
        row = (kind, method, route)
        if row not in AUTHZ_MATRIX:
            row = (kind, "*", route)
        if isinstance(AUTHZ_MATRIX.get(row), SignedIn):
            return bool(self.session)
        if self.session and not route.startswith("/v1"):
            return seated(*row, self.role, operator=self.operator)
        return may(*row, self.scopes)


class Answer(Struct, frozen=True):
    """What came back; `text` is the whole of it, head included."""

    status: int
    text: str


class Line:
    """One connection to an installation, opened anew where it was closed."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        secure = place.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(place.netloc, timeout=TIMEOUT_S)
        self._url = url

    def close(self) -> None:
        self._connection.close()

    def ask(self, actor: Actor, question: Question, path: str | None = None) -> Answer:
        """Return the answer to a question, or to the same at another path."""
        if question.position == "message":
            return self._talk(actor, question)
        headers = {**self._of(actor), **question.headers}
        body = None if question.body is None else question.body.encode()
        for again in (True, False):
            try:
                self._connection.request(question.method, path or question.path, body, headers)
                return _read(self._connection.getresponse())
            except (http.client.HTTPException, ConnectionError):
                self._connection.close()
                if not again:
                    raise
        raise AssertionError

    def _of(self, actor: Actor) -> dict[str, str]:
        if actor.key:
            return {"authorization": f"Bearer {actor.key}"}
        if not actor.session:
            return {}
        # As a page of ours would: what refuses must not be that the request is a forged one.
        jar = {settings.SESSION_COOKIE_NAME: actor.session, settings.CSRF_COOKIE_NAME: _TOKEN}
        cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
        page = {"origin": self._url, "referer": f"{self._url}/"}
        return {"cookie": cookie, "x-csrftoken": _TOKEN, **page}

    def _talk(self, actor: Actor, question: Question) -> Answer:
        """Say all over a WebSocket: with another's key where it is a person who asks."""
        headers = self._of(actor)
        origin = headers.pop("origin", None)
        url = self._url.replace("http", "ws", 1) + question.path
        try:
            with connect(
                url,
                additional_headers=headers,
                origin=origin,  # type: ignore[arg-type] # a str
                open_timeout=TIMEOUT_S,
                compression=None,
            ) as socket:
                if actor.session:
                    held = {"type": "auth", "key_id": question.headers["key_id"]}
                    socket.send(json.dumps(held))
                asked = {
                    "type": "chat.create",
                    "id": "1",
                    "request": json.loads(question.body or ""),
                }
                socket.send(json.dumps(asked))
                return Answer(HTTPStatus.FORBIDDEN, _heard(socket))
        except InvalidStatus as refused:
            return Answer(refused.response.status_code, refused.response.body.decode())
        except ConnectionClosed as closed:
            return Answer(HTTPStatus.FORBIDDEN, str(closed))


def _heard(socket: Any) -> str:  # noqa: ANN401 - of a library
    """Return all that is said until the stream ends."""
    said = []
    while True:
        message = str(socket.recv(TIMEOUT_S))
        said.append(message)
        if json.loads(message).get("type") in {"error", "chat.done", "chat.cancelled"}:
            return "\n".join(said)


def _read(response: http.client.HTTPResponse) -> Answer:
    head = "\n".join(f"{name}: {value}" for name, value in response.getheaders())
    return Answer(response.status, f"{head}\n\n{response.read().decode('utf-8', 'replace')}")


# --- what an answer gives away ------------------------------------------------------------------


def faults(line: Line, actor: Actor, question: Question, theirs: Town) -> list[str]:
    """Ask, and return a sentence for each thing that somebody of another tenant must not get."""
    answer, admitted = line.ask(actor, question), actor.may(question.method, question.route)
    found = []
    if shown := _shown(answer.text, question.sent, theirs):
        found.append(f"shows {shown!r}")
    if not admitted and answer.status not in REFUSED:
        found.append(f"answers {answer.status}, and is not for {actor.name}")
    if admitted and answer.status in _NOT_LET_IN:
        found.append(f"lets nobody in: {answer.status}")  # so it was never asked
    if question.position in {"path", "body"} and _did_it(answer.status, question.route):
        found.append(f"answers {answer.status}")
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        found.append(f"fails with {answer.status}")
    # Who is refused for their role is so before anything is looked for.
    return found + (_told_apart(line, actor, question, answer) if admitted else [])


def _told_apart(line: Line, actor: Actor, question: Question, answer: Answer) -> list[str]:
    """Say whether what is another tenant's is told from what is not there at all."""
    if question.twin is None or answer.status in _NOT_LET_IN:
        return []
    twin = line.ask(actor, question, question.twin)
    bare, of_twin = _bare(answer, question.sent), _bare(twin, question.absent)
    if (answer.status, bare) == (twin.status, of_twin):
        return []
    return [f"tells that it is there: {answer.status} {bare[:80]}, else {twin.status}"]


def _did_it(status: int, route: str) -> bool:
    # A tool that fails says so in an answer of its own.
    return status < HTTPStatus.MULTIPLE_CHOICES and route != TOOLS


def _shown(text: str, sent: tuple[str, ...], theirs: Town) -> str:
    """Return what an answer shows of a tenant that was not in the request itself."""
    rest = _without(unquote(text), sent)
    secrets = {theirs.mark, theirs.ids["conversations"], theirs.ids["requests"]} - set(sent)
    found = re.search("|".join(map(re.escape, secrets)), rest)
    return rest[found.start() : found.start() + 80] if found else ""


def _bare(answer: Answer, sent: tuple[str, ...]) -> str:
    """Return an answer's body without what was asked for and ids of its own."""
    body = answer.text.partition("\n\n")[2]
    return _TOKENS.sub("", _ANY_ID.sub("", _without(body, sent)))


def _without(text: str, sent: tuple[str, ...]) -> str:
    """Return a text without what was sent: that may be repeated, but nothing that goes on so."""
    for each in sorted(sent, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(each)}(?![\w-])", "", text)
    return text


def actors_of(own: Town) -> Mapping[str, Actor]:
    """Return all `ACTORS` of a tenant."""
    people: dict[str, Actor] = {
        role: Actor(name=role, session=own.sessions[role], role=role) for role in ROLES
    }
    keys = {
        f"{name} key": Actor(name=f"{name} key", key=own.keys[name], scopes=frozenset(scopes))
        for name, scopes in tenancy.SCOPES.items()
    }
    return {"nobody": Actor(name="nobody"), **keys, **people}
