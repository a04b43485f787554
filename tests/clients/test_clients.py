"""Clients that others build on run a loop of tools and a stream through the gateway, unmodified."""

import json
import re
from collections.abc import Callable, Sequence

import pytest

from tests.clients.conftest import GEMINI
from tests.clients.heard import Heard, heard
from tests.clients.matrix import (
    ALWAYS_STREAMED,
    BY_SCHEMA,
    EMBEDDINGS,
    GROWING,
    LOOPS,
    REFUSED,
    STREAMS,
    TYPED,
    Case,
)
from tests.clients.program import Program, Seen
from tests.upstream.client import BillRow, SeenCall, Upstream
from tests.upstream.scripts import answer, calling, gated

LIMIT_S = 60
CALLS = [("weather", {"town": "Rome"}), ("clock", {"zone": "Europe/Rome"})]
RESULTS = ["24 degrees in Rome", "noon in Europe/Rome"]
ASKED = tuple((name, json.dumps(arguments)) for name, arguments in CALLS)
FINAL = "It is warm in Rome, and noon by now; take a hat along."
VISIT = {"town": "Rome", "zone": "Europe/Rome"}
TYPE_TOOLS = {"instructor": "Visit", "pydantic_ai": "final_result"}  # by which they ask for it

Start = Callable[[str], Program]


def each(cases: Sequence[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=map("-".join, cases))


@each([case for case in LOOPS if case.client not in ALWAYS_STREAMED])
def test_a_tool_loop(program: Start, upstream: Upstream, case: Case) -> None:
    assert_looped(run_loop(program, upstream, case, "tools"), upstream, case)


@each(LOOPS)
def test_a_streamed_tool_loop(program: Start, upstream: Upstream, case: Case) -> None:
    kind = ALWAYS_STREAMED.get(case.client, "streamed tools")
    seen = run_loop(program, upstream, case, kind)
    if kind == "streamed tools":
        assert "".join(seen["pieces"]).endswith(FINAL)
        assert len(seen["pieces"]) > 3
    assert_looped(seen, upstream, case)


@each(STREAMS)
def test_a_stream(program: Start, upstream: Upstream, case: Case) -> None:
    """The provider goes on only when the client has shown the beginning."""
    upstream.script(case.model, gated("shown", after_events=7) + answer(FINAL))
    running = program(case.client)
    seen = running.ask(
        f"{case.way} stream", case.called, lambda: upstream.open_gate("shown"), LIMIT_S
    )
    assert seen["text"] == "".join(seen["pieces"]) == FINAL
    assert len(seen["pieces"]) > 3
    assert_told(seen, case, upstream.bill().rows)


@each(TYPED)
def test_an_answer_of_a_type_is_asked_for_again_until_it_holds(
    program: Start, upstream: Upstream, case: Case
) -> None:
    name = TYPE_TOOLS[case.client]
    wrong, right = (json.dumps(visit) for visit in ({**VISIT, "zone": "Rome"}, VISIT))
    upstream.script(case.model, calling((name, wrong)), calling((name, right)))
    seen = run(program, case, "typed")
    assert seen["object"] == VISIT
    first, second = upstream.calls
    assert "Name the continent too." in second.raw_body
    if case[:2] != ("instructor", "responses"):  # it shows the model its mistake as a user's
        went = heard(second)
        assert [call[1:] for call in went.calls] == [(name, json.loads(wrong))]
        assert_paired(went, first, case)


@each(GROWING)
def test_an_answer_of_a_type_grows(program: Start, upstream: Upstream, case: Case) -> None:
    upstream.script(case.model, calling((TYPE_TOOLS[case.client], json.dumps(VISIT))))
    seen = run(program, case, "stream")
    assert seen["object"] == VISIT
    shown = {piece for piece in seen["pieces"] if "Rome" in piece}
    assert len(shown) > 1 or "google" in case or GEMINI in case  # where calls come whole


@each(BY_SCHEMA)
def test_an_answer_by_a_schema(program: Start, upstream: Upstream, case: Case) -> None:
    upstream.script(case.model, answer(json.dumps(VISIT)))
    assert run(program, case, "typed")["object"] == VISIT
    (call,) = upstream.calls
    assert '"zone"' in call.raw_body  # the schema went with it


@each(REFUSED)
def test_that_one_tool_is_called_at_most_is_refused_where_there_is_no_word_for_it(
    program: Start, upstream: Upstream, case: Case
) -> None:
    with pytest.raises(AssertionError, match=r"'tool_choice\.disable_parallel_tool_use' cannot be"):
        run(program, case, "typed")
    assert upstream.calls == []


@each(EMBEDDINGS)
def test_embeddings(program: Start, upstream: Upstream, case: Case) -> None:
    seen = run(program, case)
    assert [len(vector) for vector in seen["vectors"]] == [8, 8]
    assert upstream.order == [case.model]


@pytest.mark.parametrize("client", ["llm", "vercel"])
def test_whom_else_a_client_reaches_is_told(program: Start, client: str) -> None:
    with pytest.raises(AssertionError, match=r"127\.0\.0\.2"):
        program(client).ask("stray", "", list, LIMIT_S)


# --- what is done


def run(program: Start, case: Case, kind: str = "") -> Seen:
    return program(case.client).ask(f"{case.way} {kind}".strip(), case.called, list, LIMIT_S)


def run_loop(program: Start, upstream: Upstream, case: Case, kind: str) -> Seen:
    upstream.script(case.model, calling(*ASKED, text=3), answer(FINAL))
    return run(program, case, kind)


# --- what has to hold


def assert_looped(seen: Seen, upstream: Upstream, case: Case) -> None:
    assert seen["text"] == FINAL
    assert sorted(seen["ran"]) == sorted(map(list, CALLS))
    assert_told(seen, case, upstream.bill().rows)
    first, second = upstream.calls
    went = heard(second)
    assert [call[1:] for call in went.calls] == CALLS
    for (_, told), text in zip(went.results, RESULTS, strict=True):
        assert text in told
    assert_paired(went, first, case)


def assert_paired(went: Heard, first: SeenCall, case: Case) -> None:
    """Check that each result is the answer to its call, by the id the provider gave."""
    calls, results = [call[0] for call in went.calls], [result[0] for result in went.results]
    if case.sends_ids:
        given = [re.fullmatch(r"call_up\d+_(\d)", str(id_)) for id_ in calls]
        assert [found and int(found[1]) for found in given] == list(range(len(calls)))
    if case.sends_ids or first.dialect != "gemini.content":
        assert results == calls
        assert None not in calls


def assert_told(seen: Seen, case: Case, rows: list[BillRow]) -> None:
    """Check what a client tells of usage and ending, where it does."""
    assert seen.get("finish") == case.finish
    if case.counts:
        assert seen["usage"] == [sum(row.input for row in rows), sum(row.output for row in rows)]
