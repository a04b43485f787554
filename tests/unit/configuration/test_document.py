"""Plain data becomes typed values and back, and every fault has its path."""

import pytest

from llm_gateway.configuration import schema
from llm_gateway.configuration.document import ConfigurationError, plain, read


def faults(data: object) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        read(schema.File, data)
    return [str(problem) for problem in raised.value.problems]


def test_what_is_left_out_has_its_default() -> None:
    assert read(schema.File, {}) == schema.File()


def test_null_is_the_same_as_leaving_out() -> None:
    assert read(schema.File, {"models": None, "settings": None}) == schema.File()


def test_null_is_a_value_where_a_field_must_be_given() -> None:
    budget = read(schema.Budget, {"name": "counted", "limit": None})
    assert budget.limit is None
    assert plain(budget) == {"name": "counted", "limit": None}


def test_an_unknown_field_is_named_with_its_likely_meaning() -> None:
    data = {"providers": [{"name": "a", "kind": "openai", "base_urll": "x"}]}
    assert faults(data) == ["providers[0].base_urll: unknown field; did you mean base_url?"]


def test_all_faults_are_found_at_once() -> None:
    found = faults({"providers": [{"kind": "opnai"}, 5], "tenants": {}, "version": 2})
    assert found == [
        "version: a whole number from 1 to 1 is expected, not 2",
        "providers[0].kind: 'opnai' is not known; did you mean openai?",
        "providers[0].name: this field is missing",
        "providers[1]: fields are expected, as in `name: value`",
        "tenants: a list is expected",
    ]


def test_a_float_is_no_money() -> None:
    data = {"tenants": [{"name": "a", "budgets": [{"name": "b", "limit": 2.5}]}]}
    assert faults(data) == [
        'tenants[0].budgets[0].limit: write it as a quoted string, such as "2.50"'
    ]


def test_a_wrong_text_is_not_repeated() -> None:
    data = {"tenants": [{"name": "a", "keys": [{"name": "k", "value": 12345678901234567890}]}]}
    assert faults(data) == ["tenants[0].keys[0].value: text is expected here; put it in quotes"]


def test_what_equals_its_default_is_not_written() -> None:
    price = read(schema.Price, {"from": "2024-08-06", "input": "2.50", "tiers": []})
    assert plain(price) == {"from": "2024-08-06", "input": "2.50"}


@pytest.mark.parametrize("text", ["2027-01-01", "2027-01-01T10:30:00+00:00"])
def test_a_moment_is_written_as_it_was_read(text: str) -> None:
    key = read(schema.Key, {"name": "k", "expires": text})
    assert plain(key)["expires"] == text


def test_a_time_without_offset_is_refused() -> None:
    data = {"tenants": [{"name": "a", "keys": [{"name": "k", "expires": "2027-01-01T10:00"}]}]}
    assert "needs an offset" in faults(data)[0]
