"""A template has places and values, and nothing in it can be run."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.errors import InvalidRequestError
from llm_gateway.prompts.templates import check_messages, filled, names_of

MESSAGES = [
    {"role": "system", "content": "Speak {{language}}."},
    {"role": "user", "content": "Greet {{ name }} in {{language}}."},
]


def test_values_fill_their_places_and_defaults_the_others() -> None:
    assert names_of(MESSAGES) == ["language", "name"]
    done = filled(MESSAGES, {"name": "Ada"}, {"language": "Dutch"})
    assert [one["content"] for one in done] == ["Speak Dutch.", "Greet Ada in Dutch."]
    assert filled(MESSAGES, {"name": 3, "language": 1.5}, {})[0]["content"] == "Speak 1.5."


@given(value=st.text())
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    for text in (value, f"{{{{name}}}}{value}", "{{language}}", "{% debug %}", "{{x.__class__}}"):
        done = filled(MESSAGES, {"name": text, "language": "Dutch"}, {})
        assert done[1]["content"] == f"Greet {text} in Dutch."


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"name": "Ada"}, "variables.language"),
        ({"name": "Ada", "language": "Dutch", "colour": "red"}, "variables.colour"),
        ({"name": ["Ada"], "language": "Dutch"}, "variables.name"),
        ({"name": True, "language": "Dutch"}, "variables.name"),
    ],
)
def test_a_missing_a_foreign_and_a_strange_value_are_named(
    values: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        filled(MESSAGES, values, {})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        (["hi"], "messages[0]"),
        ([{"role": "user"}], "messages[0]"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": ""}], "messages[0].content"),
        ([{"role": "user", "content": "{{7*7}}"}], "messages[0].content"),
        ([{"role": "user", "content": "{{x.__class__}}"}], "messages[0].content"),
        ([{"role": "user", "content": "{{open"}], "messages[0].content"),
        ([{"role": "user", "content": "x", "name": "n"}], "messages[0]"),
    ],
)
def test_a_template_that_is_none_is_refused_by_name(messages: object, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_messages(messages)
    assert caught.value.param == param


def test_a_template_is_kept_as_it_was_written() -> None:
    assert check_messages(MESSAGES) == MESSAGES
