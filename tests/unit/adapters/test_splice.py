"""A value is exchanged where it stands, and nowhere that only looks like it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.adapters import splice

texts = st.sampled_from(["model", 'a"model":"x"', "usage", "\\", '"', "é", ',"usage":null'])
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(body=st.dictionaries(texts, values, max_size=5), indent=st.sampled_from([None, 2]))
def test_only_the_member_of_the_top_object_changes(body: dict[str, object], indent: int) -> None:
    data = json.dumps(body, indent=indent).encode()
    want = {key: "new" if key == "model" else value for key, value in body.items()}
    assert json.loads(splice.substitute(data, ("model",), b'"new"')) == want
    want = {key: value for key, value in body.items() if key != "usage"}
    assert json.loads(splice.without(data, "usage")) == want


def test_spacing_stays_as_it_was() -> None:
    data = b'{ "a" : 1 ,\n "m" : { "model" :  "x" } }'
    assert splice.substitute(data, ("m", "model"), b'"y"') == data.replace(b'"x"', b'"y"')
    assert splice.substitute(data, ("m", "none"), b'"y"') == data


@pytest.mark.parametrize("data", [b'{"a":1,"a":222}', b'{"a":222,"b":1,"a":1}', b"[1]", b"{", b""])
def test_a_key_that_stands_twice_and_what_is_no_object_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  which of its subclasses does not matter
        splice.members(data)
