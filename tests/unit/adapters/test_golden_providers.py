"""What providers say in accents of their own gives what each folder says, cut anywhere."""

import json

import pytest

from llm_gateway.adapters import CHAT_ADAPTERS
from llm_gateway.adapters.sse import Framer
from llm_gateway.errors import InvalidAnswerError
from tests.unit.adapters import golden, golden_providers
from tests.unit.adapters.golden_providers import Case
from tests.unit.adapters.test_golden import without_usage

CASES = golden_providers.cases()
STREAMS = [case for case in CASES if case.stream is not None]
INPUTS = {"upstream.json", *golden_providers.FRAMERS}

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
each_stream = pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.id)


@each_case
def test_a_case_gives_what_its_folder_says(case: Case) -> None:
    for name, content in golden_providers.outputs(case).items():
        assert golden.pretty(name, content) == (case.folder / name).read_bytes(), name


@each_case
def test_no_file_of_a_case_is_left_unread(case: Case) -> None:
    expected = golden_providers.outputs(case).keys() | INPUTS | {f"request.{case.dialect}.json"}
    assert {path.name for path in case.folder.iterdir()} <= expected


@each_stream
def test_a_stream_may_be_cut_at_every_byte(case: Case) -> None:
    assert case.stream is not None
    body, make = case.stream
    whole = golden_providers.frames_of(case)
    for position in range(len(body)):
        framer = make()
        assert [*framer.feed(body[:position]), *framer.feed(body[position:])] == whole
    pieces = [body[i : i + 1] for i in range(len(body))]
    assert golden_providers.frames_of(case, pieces) == whole


@each_stream
def test_a_stream_that_is_cut_never_looks_complete(case: Case) -> None:
    assert case.stream is not None
    body, make = case.stream
    ends = end_of(case)
    for position in range(len(body)):
        framer = make()
        frames = framer.feed(body[:position])
        try:
            frames += framer.feed(framer.closing)
        except InvalidAnswerError:
            continue  # a broken message is no end either
        _events, facts = golden_providers.read(case.upstream, frames)
        assert facts.complete == (position >= ends)


@each_stream
def test_a_stream_and_its_whole_answer_agree(case: Case) -> None:
    events, facts = golden_providers.read(case.upstream, golden_providers.frames_of(case))
    if facts.error is not None:
        return
    for adapter in CHAT_ADAPTERS.values():
        writer = adapter.writer(case.call, model="m", request_id="r", created=1)
        streamed = b"".join(map(writer.feed, events)) + writer.end()
        again, _facts = golden.read(adapter, [*Framer().feed(streamed), golden.END])
        first = adapter.render_answer(events, case.call, model="m", request_id="r", created=1)
        second = adapter.render_answer(again, case.call, model="m", request_id="r", created=1)
        assert without_usage(first) == without_usage(second)


def test_every_case_is_one_that_a_client_could_send() -> None:
    for case in CASES:
        assert json.dumps(case.body)
        assert case.call.model


def end_of(case: Case) -> int:
    """Return how many bytes have the provider's terminal event; its line end may be missing."""
    assert case.stream is not None
    body, make = case.stream
    framer, frames = make(), list[bytes]()
    for position in range(len(body)):
        whole = framer.feed(body[position : position + 1])
        frames += whole
        if whole and golden_providers.read(case.upstream, frames)[1].complete:
            return position + 1 - len(framer.closing)
    return len(body)  # an error: it has no end
