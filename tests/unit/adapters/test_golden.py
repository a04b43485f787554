"""Every golden case gives what its folder says, whole and cut at every byte."""

import json
from pathlib import Path

import pytest

from llm_gateway.adapters import ADAPTERS, CHAT_ADAPTERS
from llm_gateway.adapters.sse import Framer
from tests.unit.adapters import golden

CASES = golden.cases()
STREAMS = [
    case for case in CASES if (case / "upstream.sse").exists() and case.parent.name in CHAT_ADAPTERS
]
MIN_CASES = 12

each_case = pytest.mark.parametrize("case", CASES, ids=golden.name_of)
each_stream = pytest.mark.parametrize("case", STREAMS, ids=golden.name_of)


def test_there_are_cases_for_every_adapter() -> None:
    assert {case.parent.name for case in CASES} == set(ADAPTERS)
    assert len(CASES) >= MIN_CASES


@each_case
def test_a_case_gives_what_its_folder_says(case: Path) -> None:
    for name, content in golden.outputs(case).items():
        assert golden.pretty(name, content) == (case / name).read_bytes(), name


@each_case
def test_no_file_of_a_case_is_left_unread(case: Path) -> None:
    expected = golden.outputs(case).keys() | set(golden.INPUTS)
    assert {path.name for path in case.iterdir()} <= expected


@each_stream
def test_a_stream_may_be_cut_at_every_byte(case: Path) -> None:
    body = (case / "upstream.sse").read_bytes()
    whole = frames_of([body])
    for position in range(len(body)):
        assert frames_of([body[:position], body[position:]]) == whole
    pieces = frames_of([body[i : i + 1] for i in range(len(body))])
    chat = CHAT_ADAPTERS[case.parent.name]
    sent = golden.played(chat, golden.call_of(case), pieces)[f"client.{chat.name}.sse"]
    assert sent == (case / f"client.{chat.name}.sse").read_bytes()


@each_stream
def test_a_stream_and_its_whole_answer_agree(case: Path) -> None:
    chat = CHAT_ADAPTERS[case.parent.name]
    events, facts = golden.read(chat, frames_of([(case / "upstream.sse").read_bytes()]))
    if facts.error is not None:
        return
    call = golden.call_of(case)
    for adapter in CHAT_ADAPTERS.values():
        writer = adapter.writer(call, model="m", request_id="r", created=1)
        streamed = b"".join(map(writer.feed, events)) + writer.end()
        again, _facts = golden.read(adapter, frames_of([streamed]))
        first = adapter.render_answer(events, call, model="m", request_id="r", created=1)
        second = adapter.render_answer(again, call, model="m", request_id="r", created=1)
        assert without_usage(first) == without_usage(second)


def frames_of(pieces: list[bytes]) -> list[bytes]:
    framer = Framer()
    frames = [frame for piece in pieces for frame in framer.feed(piece)]
    return [*frames, rest, golden.END] if (rest := framer.rest()) else [*frames, golden.END]


def without_usage(body: bytes) -> dict[str, object]:
    """Return an answer without what a client may not have asked the stream for.

    What Google signed is told to callers of OpenAI's dialect, and not read from its providers.
    """
    answer: dict[str, object] = json.loads(body, object_hook=unsigned)
    del answer["usage" if "usage" in answer else "usageMetadata"]
    return answer


def unsigned(value: dict[str, object]) -> dict[str, object]:
    return {name: item for name, item in value.items() if name != "extra_content"}
