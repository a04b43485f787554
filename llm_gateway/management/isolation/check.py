"""Make two tenants, ask for the one's things as the other, and leave nothing of either."""

import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from llm_gateway.access import AUTHZ_MATRIX
from llm_gateway.management.isolation import tenancy
from llm_gateway.management.isolation.asking import (
    ACTORS,
    REFUSED,
    Actor,
    Line,
    actors_of,
    faults,
)
from llm_gateway.management.isolation.matrix import CONSOLE, TOOLS, Question, path_of, questions
from llm_gateway.management.isolation.tenancy import Town
from tenants.signin.rules import console_is_set_up

KNOWN_WITHIN_S, POLL_S = 15.0, 0.1
# Rows of the log come behind the answers: for so long none may come any more.
QUIET_S = 1.0
# What is not there without traffic, and what a tenant has no list of.
_UNSEEN = {"inflight", "circuits", "responses", "items"}
_MARKED = ("/api/v1/", "/v1/models", "/v1beta/models", "/v1/files", "/v1/batches")


class Asked(Struct, frozen=True):
    """What one actor asked: how many questions, over how many routes, and what went wrong."""

    actor: str
    questions: int
    routes: int
    faults: Sequence[str]


class CannotAskError(Exception):
    """Why an installation cannot be asked."""


@contextmanager
def made(mark: str) -> Iterator[Town]:
    """Yield a tenant that is there for as long as it is asked about."""
    town = tenancy.make(mark)
    try:
        yield town
    finally:
        tenancy.remove(town)
        _remove_what_is_late(town)


def _remove_what_is_late(town: Town, quiet_s: float = QUIET_S) -> None:
    """Remove what is logged behind the answers, until nothing is any more."""
    quiet_at = time.monotonic() + quiet_s
    while time.monotonic() < quiet_at:
        time.sleep(POLL_S)
        if tenancy.remove_logged(town):
            quiet_at = time.monotonic() + quiet_s


@contextmanager
def two_tenants() -> Iterator[tuple[Town, Town]]:
    """Yield a tenant to ask about and one to ask as."""
    word = secrets.token_hex(5)
    with made(f"isolation-{word}-theirs") as theirs, made(f"isolation-{word}-own") as own:
        yield theirs, own


def all_questions(theirs: Town, own: Town) -> list[Question]:
    """Return what is asked; pages of a console that nobody could sign in to are not."""
    # What is read comes before what would change it, or writes a name into the asker's own log.
    every = sorted(
        questions(theirs, own, tenancy.nobody()),
        key=lambda one: (one.method != "GET", one.route != TOOLS),
    )
    if console_is_set_up():
        return every
    return [one for one in every if not one.route.startswith((CONSOLE, "/sign-in/"))]


def asked_as(line: Line, actor: Actor, every: Iterable[Question], theirs: Town) -> Asked:
    """Ask everything as one actor."""
    count, routes, found = 0, set[tuple[str, str]](), list[str]()
    for question in every:
        count += 1
        routes.add((question.method, question.route))
        found += [
            f"{actor.name}: {question.method} {question.path} ({question.position}) {fault}"
            for fault in faults(line, actor, question, theirs)
        ]
    return Asked(actor.name, count, len(routes), found)


def seen_by_itself(line: Line, theirs: Town, limit_s: float = KNOWN_WITHIN_S) -> Asked:
    """See that the tenant itself is shown what is asked for: else no refusal would say anything.

    Raises CannotAskError where the installation does not come to know it.
    """
    actor = actors_of(theirs)["full key"]
    wait_until(lambda: _sees(line, actor, theirs, "/v1/models"), limit_s)
    routes = [route for kind, method, route in AUTHZ_MATRIX if (kind, method) == ("http", "GET")]
    wanted = [
        route
        for route in routes
        if route.startswith(_MARKED) and _about(route) in theirs.ids.keys() - _UNSEEN
    ]
    wanted = [route for route in wanted if route.startswith("/api/") or "{" not in route]
    missed = [
        f"GET {route}: its own tenant is not shown what is its own"
        for route in wanted
        if not _sees(line, actor, theirs, path_of(route, theirs.ids))
    ]
    return Asked("the tenant itself", len(wanted), len(wanted), missed)


def _about(route: str) -> str:
    """Return of what a route tells: the last part of its path that is no parameter."""
    return [part for part in route.split("/") if "{" not in part][-1]


def _sees(line: Line, actor: Actor, town: Town, path: str) -> bool:
    question = Question(method="GET", route=path, path=path, position="path", sent=())
    answer = line.ask(actor, question)
    return answer.status == 200 and town.mark in answer.text  # noqa: PLR2004 - OK


def wait_until(happened: Callable[[], bool], limit_s: float) -> None:
    """Return once it happened. Raises CannotAskError past the limit."""
    ends = time.monotonic() + limit_s
    while not happened():
        if time.monotonic() > ends:
            raise CannotAskError("It does not know a tenant of this database: it has another one.")
        time.sleep(POLL_S)


def check(url: str, names: Sequence[str] | None = None) -> Generator[Asked]:
    """Ask an installation as everybody, and yield what came of each. Raises CannotAskError.

    With `names` as these actors alone.
    """
    line = Line(url)
    try:
        with two_tenants() as (theirs, own):
            yield seen_by_itself(line, theirs)
            seen_by_itself(line, own)
            every, before = all_questions(theirs, own), tenancy.stored(theirs)
            for name in names or ACTORS:
                _remove_what_is_late(own, 2 * POLL_S)
                yield asked_as(line, actors_of(own)[name], every, theirs)
            for name in names or ACTORS[1:]:
                yield refused_its_own(line, actors_of(theirs)[name], every)
            yield unchanged(theirs, before)
    except OSError as error:
        raise CannotAskError(f"{url} does not answer: {error}") from None
    finally:
        line.close()


def refused_its_own(line: Line, actor: Actor, every: Iterable[Question]) -> Asked:
    """Ask as somebody of the tenant itself for all that their role or key does not reach."""
    closed = [one for one in every if not actor.may(one.method, one.route)]
    answers = [(one, line.ask(actor, one).status) for one in closed]
    found = [
        f"{actor.name} of its own: {one.method} {one.path} {status}"
        for one, status in answers
        if status not in REFUSED
    ]
    routes = {(one.method, one.route) for one in closed}
    return Asked(f"{actor.name} of its own", len(closed), len(routes), found)


def unchanged(theirs: Town, before: dict[str, list[tuple[object, ...]]]) -> Asked:
    """Say in which tables rows of a tenant are no longer what they were."""
    after = tenancy.stored(theirs)
    found = [f"{table}: rows were changed" for table in before if before[table] != after[table]]
    rows = sum(map(len, before.values()))
    return Asked("rows afterwards", rows, len(before), found)
