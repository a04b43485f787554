"""Shorter prompts lose space, repetition and old turns, and never what they are told to keep."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.prompts.condense import shortened, squeezed, without_repeats
from llm_gateway.prompts.optimise import Optimised, optimise, optimise_text, trimmed

Wire = dict[str, Any]
SYSTEM = {"role": "system", "content": "You  are   terse.\n\n\n\nAlways."}
LONG = "The warehouse in Rotterdam holds nine thousand pallets."


def words(message: Wire) -> int:
    """Count a token for each word, space or line end, and two for the message."""
    content = message.get("content") or ""
    return 2 + sum(1 for _ in content.replace("\n", " ").split(" "))


def user(text: str) -> Wire:
    return {"role": "user", "content": text}


def said(text: str) -> Wire:
    return {"role": "assistant", "content": text}


def tool_round(number: int) -> list[Wire]:
    call = {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": "a  result   of many words here"},
    ]


texts = st.text(alphabet="ab .\n", max_size=40)
turns = st.lists(
    st.tuples(texts, st.booleans(), texts).map(
        lambda one: [user(one[0]), *(tool_round(1) if one[1] else []), said(one[2])]
    ),
    max_size=5,
)


@given(turns=turns, last=texts, system=st.booleans(), target=st.integers(0, 60))
def test_instructions_and_the_last_turn_stay_and_the_report_adds_up(
    turns: list[list[Wire]], last: str, system: bool, target: int
) -> None:
    history = [message for turn in turns for message in turn]
    messages = [*([SYSTEM] if system else []), *history, user(last)]
    found = optimise(messages, target, words)
    assert found.messages[-1] == user(last)
    assert not system or found.messages[0] == SYSTEM
    assert found.after == sum(map(words, found.messages))
    assert found.before - found.after == sum(one.tokens for one in found.removed)
    assert found.before == sum(map(words, messages))
    left_out = len(messages) - len(found.messages)
    assert left_out == sum(one.kind == "history" for one in found.removed)
    # Where the target was missed, all that may go is gone.
    assert found.reached or len(found.messages) == 1 + system
    assert pairs_are_whole(found)


def pairs_are_whole(found: Optimised) -> bool:
    """Say whether every result follows the call it answers, and every call has its result."""
    asked = [call["id"] for one in found.messages for call in one.get("tool_calls", ())]
    answered = [one["tool_call_id"] for one in found.messages if one["role"] == "tool"]
    return asked == answered


def test_a_conversation_that_fits_is_left_as_it_is() -> None:
    messages = [SYSTEM, user("a   b"), said("c"), user("d")]
    found = optimise(messages, 1000, words)
    assert (found.messages, found.removed, found.reached) == (messages, (), True)


def test_space_goes_before_words_and_words_before_turns() -> None:
    messages = [user("one      two"), said("three\n\n\n\n\nfour"), user("five")]
    found = optimise(messages, sum(map(words, messages)) - 5, words)
    assert {one.kind for one in found.removed} == {"whitespace"}
    messages = [user(f"Well.\n\n{LONG}"), said("noted"), user("and?"), said(LONG), user("so?")]
    found = optimise(messages, sum(map(words, messages)) - 3, words)
    assert {one.kind for one in found.removed} == {"repetition"}
    found = optimise(messages, 20, words)
    assert [one.kind for one in found.removed] == ["repetition", "history", "history"]


def test_what_is_repeated_later_goes_where_it_was_said_first() -> None:
    messages = [user(f"First.\n\n{LONG}"), said("Noted."), user(f"Again: so?\n\n{LONG}")]
    found = optimise(messages, sum(map(words, messages)) - 6, words)
    assert found.messages[0] == user("First.")
    assert [(one.kind, one.message) for one in found.removed] == [("repetition", 0)]
    assert found.removed[0].excerpt.startswith("First.")


def test_a_tools_words_are_data_and_stay_to_the_letter() -> None:
    messages = [user("go"), *tool_round(1), said("ok"), user("so?")]
    found = optimise(messages, sum(map(words, messages)) - 1, words)
    kept = [one for one in found.messages if one["role"] == "tool"]
    assert kept in ([], [tool_round(1)[1]])


def test_one_prompt_keeps_what_it_asks_and_loses_what_says_least() -> None:
    filler = "\n\n".join(f"The weather on day {n} was mild and the wind was low." for n in range(9))
    asked = f"Read the log.\n\n{filler}\n\nYou must name the day of the storm.\n\nWhich one was it?"
    found = optimise_text(asked, 40, words)
    text = found.messages[0]["content"]
    assert found.reached
    for kept in ("Read the log.", "You must name the day of the storm.", "Which one was it?"):
        assert kept in text
    assert {one.kind for one in found.removed} == {"content"}


def test_code_is_never_touched() -> None:
    code = "```python\nif x:\n    y  =  1\n\n\n\n    z = 2\n```"
    text = f"before   it   \n\n\n\n{code}\n\nafter"
    assert code in squeezed(text)
    assert squeezed(text).startswith("before it\n\n```")
    assert without_repeats(f"{code}\n\n{code}", set()).count("y  =  1") == 2


@given(text=st.text(alphabet="ab ?\n", max_size=80), excess=st.integers(0, 50))
def test_first_and_last_paragraph_stay(text: str, excess: int) -> None:
    found = shortened(text, excess, len)
    paragraphs = text.split("\n\n")
    assert found.startswith(paragraphs[0])
    assert found.endswith(paragraphs[-1])


@given(turns=turns, last=texts, target=st.integers(0, 60))
def test_a_trimmed_conversation_loses_whole_turns_from_its_beginning(
    turns: list[list[Wire]], last: str, target: int
) -> None:
    messages = [message for turn in turns for message in turn] + [user(last)]
    left = trimmed(messages, target, words)
    assert messages[len(messages) - len(left) :] == left
    assert left[0]["role"] == "user"
    assert sum(map(words, left)) <= target or left == [user(last)]
