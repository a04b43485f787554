"""Fetch the secrets that a configuration names, all of them before anything is changed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from llm_gateway.configuration import schema
from llm_gateway.configuration.document import ConfigurationError, Problem
from llm_gateway.configuration.load import secret
from llm_gateway.providers.auth import is_header_value
from tenants.keys import check_value

# A section → its secret. Sections are values, equal ones name the same secret.
Given = dict[str, str]


def given_secrets(file: schema.File, folder: Path) -> Given:
    """Return secrets by what the file says of them. Raises ConfigurationError."""
    given: Given = {}
    problems = []
    for path, text, is_api_key in _named(file):
        try:
            given[text] = value = secret(text, folder)
            _check(value, is_api_key=is_api_key)
        except ValueError as error:
            problems.append(Problem(path, str(error)))
    if problems:
        raise ConfigurationError(problems)
    return given


def _check(value: str, *, is_api_key: bool) -> None:
    if is_api_key:
        check_value(value)
    elif not is_header_value(value):
        raise ValueError("the key holds a character that no header can carry")


def _named(file: schema.File) -> Iterator[tuple[str, str, bool]]:
    yield from _of_providers(file.providers, "providers")
    for place, tenant in enumerate(file.tenants):
        path = f"tenants[{place}]"
        yield from _of_providers(tenant.providers, f"{path}.providers")
        for number, key in enumerate(tenant.keys):
            if key.value is not None:
                yield f"{path}.keys[{number}].value", key.value, True


def _of_providers(
    providers: Sequence[schema.Provider], path: str
) -> Iterator[tuple[str, str, bool]]:
    for place, provider in enumerate(providers):
        for number, key in enumerate(provider.keys):
            if key.value is not None:
                yield f"{path}[{place}].keys[{number}].value", key.value, False
