"""YAML is read without its surprises, secrets from where the file says."""

from pathlib import Path

import pytest

from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.load import load, parse, secret


def sentence(text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    return str(raised.value)


def test_a_field_that_stands_twice_is_refused() -> None:
    assert sentence("version: 1\nversion: 1") == "line 2: the field 'version' stands twice"


def test_json_is_yaml() -> None:
    assert parse('{"version": 1, "tenants": [{"name": "acme"}]}').tenants[0].name == "acme"


@pytest.mark.parametrize("word", ["no", "yes", "on", "12:30", "2024-08-06", "0x1f", "1_000"])
def test_a_plain_word_stays_text(word: str) -> None:
    data = f"models: [{{name: a, provider: b, upstream_name: {word}}}]"
    assert parse(data).models[0].upstream_name == word


def test_only_true_and_false_are_flags() -> None:
    data = "tenants: [{name: a, single_flight: yes}]"
    assert sentence(data) == "tenants[0].single_flight: true or false is expected, not 'yes'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("a: [", "line 1: expected the node content"),
        ("[1]", "fields are expected"),
        ("{[a]: 1}", "a field name has to be text"),
        ("!!python/object:os.system {}", "could not determine a constructor"),
        ("1: 2", "the field name 1 is not text"),
        ("a: \x00", "this is not YAML"),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_sentence(text: str, said: str) -> None:
    found = sentence(text)
    assert said in found
    assert "\n" not in found


def test_a_merge_key_is_understood() -> None:
    text = "tenants: [{name: a, <<: {time_zone: Europe/Berlin}}]"
    assert parse(text).tenants[0].time_zone == "Europe/Berlin"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yml cannot be read: No such file"):
        load(tmp_path / "nowhere.yml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        load(tmp_path / "a.yml")


def test_a_secret_comes_from_the_environment_or_a_file_or_is_there(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    environment = {"KEY": "from-environment"}
    assert secret("env:KEY", tmp_path, environment) == "from-environment"
    assert secret("file:key", tmp_path, environment) == "from-file"
    assert secret(f"file:{tmp_path / 'key'}", Path("/"), environment) == "from-file"
    assert secret("sk-plain", tmp_path, environment) == "sk-plain"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("env:MISSING", "the environment variable MISSING is not set"),
        ("env:EMPTY", "the environment variable EMPTY is not set"),
        ("file:missing", "missing cannot be read: No such file or directory"),
        ("file:empty", "empty is empty"),
    ],
)
def test_a_secret_that_is_not_there_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match=said):
        secret(text, tmp_path, {"EMPTY": " "})
