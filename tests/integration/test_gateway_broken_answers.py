"""Answers that begin with 200 and break: never a clean end that the provider did not send."""

from base64 import b64encode
from dataclasses import dataclass

import pytest
from typing_extensions import override

from tests.harness.dialects import OPENAI
from tests.integration.faulty import LEFT_OVER, WAYS, Faulty, Way
from tests.upstream.scripts import (
    Script,
    answer,
    cut,
    ended_early,
    error_in_stream,
    garbage,
    gated,
    gzip_bomb,
    raw,
    stalled,
)

SAID = "one two three four five six"
HTML = b"<html><body>the provider says it is overloaded</body></html>"
EVENTS = "text/event-stream"
STREAMS = [way for way in WAYS if way.stream]
EVENTFUL = [way for way in WAYS if not way.relayed_whole]  # the upstream streams


@dataclass(frozen=True, slots=True)
class Break:
    """How an answer breaks, and the code its caller is told."""

    name: str
    script: Script
    code: str = "upstream_error"
    status: int = 502
    kind: str = ""  # of the provider, where only its protocol can say such a thing

    @override
    def __str__(self) -> str:
        return self.name


def line(payload: bytes, after_events: int) -> Script:
    """Send that many events, then this as one more; the rest of the answer follows."""
    steps = ({"head": True}, {"events": after_events}, {"raw": b64encode(payload).decode()})
    return Script(steps=steps)


def spoken(broken: Script) -> Script:
    return answer(SAID) + broken


MALFORMED = b"data: {this is no JSON\n\n"
# --- after the first token, which a gate makes sure has gone out
LATE = [
    Break("fin", cut("fin")),
    Break("rst", cut("rst")),
    Break("clean end", ended_early(0)),
    Break("error object", error_in_stream(0, 500)),
    # OpenAI's error objects name no status, so there it is one more server error.
    Break("overloaded object", error_in_stream(0, 529), "no_target_available", kind="anthropic"),
    Break("malformed and over", line(MALFORMED, 0) + ended_early(0)),
]
# --- before it
EARLY = [
    Break("fin", cut("fin", at_event=0)),
    Break("rst", cut("rst", at_event=0)),
    Break("html", raw(HTML, content_type="text/html"), "upstream_invalid"),
    Break("empty", raw(b"", content_type="application/json"), "upstream_invalid"),
    Break(
        "truncated", raw(b'{"id": "x", "cho', content_type="application/json"), "upstream_invalid"
    ),
    Break("a list", raw(b"[1, 2]", content_type="application/json"), "upstream_invalid"),
    Break(
        "not UTF-8", raw(b'{"id": "\xff\xfe"}', content_type="application/json"), "upstream_invalid"
    ),
    Break("gzip", gzip_bomb(1 << 26), "upstream_invalid"),
]
EARLY_STREAMS = [
    Break("empty stream", raw(b"", content_type=EVENTS), "upstream_invalid"),
    Break("garbage", garbage(), "upstream_invalid"),
    Break("overloaded object", error_in_stream(0, 529), "no_target_available", 503, "anthropic"),
    Break("server error object", error_in_stream(0, 500)),
]


def cases(breaks: list[Break], ways: list[Way]) -> pytest.MarkDecorator:
    rows = [
        pytest.param(broken, way, id=f"{broken}-{way}")
        for broken in breaks
        for way in ways
        if broken.kind in {"", way.kind}
    ]
    return pytest.mark.parametrize(("broken", "way"), rows)


@cases(LATE, STREAMS)
def test_a_stream_that_breaks_ends_in_an_error_and_is_not_tried_again(
    faulty: Faulty, broken: Break, way: Way
) -> None:
    name = faulty.fresh(way.kind)
    faulty.upstream.script(name, spoken(gated("go", 4) + broken.script))
    told = faulty.ask(way, f"{name}-or-second", on_head=lambda: faulty.upstream.open_gate("go"))
    assert told.status == 200, told.text
    assert "one" in told.text
    error = way.caller.stream_error(told)
    assert error["code"] == broken.code
    assert "Overloaded" not in told.text
    assert faulty.upstream.order == [name]
    (outcome,) = faulty.attempts(told)
    assert outcome in {"failed", "uncertain"}
    for entry in faulty.books.terminal(told.request_id):
        assert entry["amount_nano"] <= faulty.upstream.bill().total_nano_usd * 2


@cases(EARLY_STREAMS, EVENTFUL)
def test_a_stream_that_breaks_before_its_first_token_is_answered_by_the_next(
    faulty: Faulty, broken: Break, way: Way
) -> None:
    check_early(faulty, broken, way)


@cases(EARLY, WAYS)
def test_an_answer_that_is_none_is_answered_by_the_next(
    faulty: Faulty, broken: Break, way: Way
) -> None:
    check_early(faulty, broken, way)


def check_early(faulty: Faulty, broken: Break, way: Way) -> None:
    name, second = faulty.fresh(way.kind), f"{LEFT_OVER}{way.kind}"
    faulty.upstream.script(name, broken.script)
    faulty.upstream.script(second, answer("from the second"))
    faulty.pay_in(4)
    told = faulty.ask(way, f"{name}-or-second")
    assert (told.status, told.clean) == (200, True), told.text
    assert "second" in told.text
    assert faulty.upstream.order == [name, second]
    assert faulty.attempts(told)[1:] == ["settled"]

    alone = faulty.ask(way, faulty_again(faulty, broken, way))
    assert (alone.status, alone.code) == (broken.status, broken.code), alone.text
    way.caller.error(alone)
    assert "the provider says" not in alone.text
    assert set(faulty.attempts(alone)) <= {"failed", "uncertain"}
    assert len(faulty.attempts(alone)) == (3 if broken.status == 503 else 2)


def faulty_again(faulty: Faulty, broken: Break, way: Way) -> str:
    name = faulty.fresh(way.kind)
    faulty.upstream.script(name, broken.script)
    return name


@pytest.mark.parametrize("way", [way for way in WAYS if way.relayed_whole], ids=str)
@pytest.mark.parametrize("how", ["fin", "rst", "short_length"])
def test_a_whole_answer_cut_short_is_no_answer(faulty: Faulty, how: str, way: Way) -> None:
    name, second = faulty.fresh(way.kind), f"{LEFT_OVER}{way.kind}"
    script = cut("short_length") if how == "short_length" else cut(how, at_byte=20)  # type: ignore[arg-type]
    faulty.upstream.script(name, answer(SAID) + script)
    faulty.upstream.script(second, answer("from the second"))
    faulty.pay_in(1)
    told = faulty.ask(way, f"{name}-or-second")
    assert (told.status, told.clean) == (200, True), told.text
    assert "second" in told.text
    assert faulty.attempts(told) == ["uncertain", "settled"]


@pytest.mark.parametrize("way", EVENTFUL, ids=str)
def test_a_malformed_line_is_skipped_where_the_stream_goes_on(faulty: Faulty, way: Way) -> None:
    name = faulty.fresh(way.kind)
    faulty.upstream.script(name, spoken(line(MALFORMED, 3)))
    told = faulty.ask(way, name)
    assert (told.status, told.clean) == (200, True), told.text
    assert "no JSON" not in told.text
    assert way.caller.end in told.text or not way.stream
    assert faulty.attempts(told) == ["settled"]


@pytest.mark.parametrize("way", STREAMS, ids=str)
def test_a_stream_that_falls_silent_ends_in_an_error(faulty: Faulty, way: Way) -> None:
    name = faulty.fresh(way.kind, "impatient")
    faulty.upstream.script(name, spoken(stalled(4)))
    told = faulty.ask(way, name)
    assert told.status == 200
    error = way.caller.stream_error(told)
    assert error["code"] == "upstream_timeout"
    assert error["type"] == ("server_error" if way.caller is OPENAI else "timeout_error")
    assert len(faulty.attempts(told)) == 1
