"""Read a configuration file: YAML without YAML's surprises, secrets from where it says.

Only `true` and `false` are booleans, numbers are decimal, dates stay text, and a key that stands
twice is an error: PyYAML's own loader would take the last one in silence.
"""

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path

import yaml
from typing_extensions import override

from llm_gateway.configuration import schema
from llm_gateway.configuration.document import ConfigurationError, Problem, Shape, read

_LARGEST_FILE = 16 * 1024 * 1024


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    @override
    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a field name has to be text", key_node.start_mark
                )
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key_node.value!r} stands twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", "-+0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )


def load(path: Path) -> schema.File:
    """Return the file's content. Raises ConfigurationError."""
    return load_as(schema.File, path)


def load_as(shape: type[Shape], path: Path) -> Shape:
    """Return the content of a file of another shape. Raises ConfigurationError."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise _error(f"{path} is too large")
        return _parse(shape, path.read_text("utf-8"))
    except OSError as error:
        raise _error(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _error(f"{path} is not UTF-8 text") from None


def parse(text: str) -> schema.File:
    """Return the configuration that a text holds. Raises ConfigurationError."""
    return _parse(schema.File, text)


def _parse(shape: type[Shape], text: str) -> Shape:
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise _error(f"{line}{error.problem or 'this is not YAML'}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _error(f"this is not YAML: {str(error).splitlines()[0]}") from None
    if data is None:
        raise _error("the file is empty")
    return read(shape, data)


def secret(text: str, folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return what `env:NAME`, `file:PATH` (from the configuration's folder) or the text itself is.

    Raises ValueError that names the variable or the file, never a content.
    """
    source, colon, place = text.partition(":")
    if colon and source == "env":
        if not (value := environment.get(place, "").strip()):
            raise ValueError(f"the environment variable {place} is not set")
        return value
    if colon and source == "file":
        return _secret_file(folder / Path(place).expanduser())
    return text


def _secret_file(path: Path) -> str:
    try:
        value = path.read_text("utf-8").strip()
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} is not UTF-8 text") from None
    if not value:
        raise ValueError(f"the file {path} is empty")
    return value


def _error(text: str) -> ConfigurationError:
    return ConfigurationError([Problem("", text)])
