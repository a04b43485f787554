"""Fill the places of a prompt, `{{name}}`, with values: once, and nothing of them is read again.

There are no expressions, so there is nothing that a value or a template could run.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llm_gateway.errors import InvalidRequestError

Wire = dict[str, Any]

PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]{0,63})\s*\}\}")
# Braces that are no place are most likely a place that was misspelt.
STRAY = re.compile(r"\{\{.{0,40}", re.DOTALL)
ROLES = frozenset({"system", "developer", "user", "assistant"})
MOST_MESSAGES, LONGEST = 100, 200_000  # characters of one message


def check_messages(messages: object) -> list[Wire]:
    """Return the messages of a template. Raises InvalidRequestError naming the field."""
    if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
        raise InvalidRequestError(
            f"'messages' must be a list of 1 to {MOST_MESSAGES} messages.", param="messages"
        )
    return [_checked(message, f"messages[{n}]") for n, message in enumerate(messages)]


def names_of(messages: Sequence[Wire]) -> list[str]:
    """Return the names of the places of a template, in their order."""
    found = (place[1] for message in messages for place in PLACE.finditer(message["content"]))
    return list(dict.fromkeys(found))


def filled(
    messages: Sequence[Wire], values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[Wire]:
    """Return the messages with a value in every place.

    Raises InvalidRequestError for a place without a value and a value without a place.
    """
    names = set(names_of(messages))
    for name in values:
        if name not in names:
            raise _wrong(f"variables.{name}", f"The prompt has no place for '{name}'")
    given = {**defaults, **values}
    for name in sorted(names):
        if name not in given:
            raise _wrong(f"variables.{name}", f"The prompt needs a value for '{name}'")
    words = {name: _text(name, given[name]) for name in names}
    return [
        {**message, "content": PLACE.sub(lambda place: words[place[1]], message["content"])}
        for message in messages
    ]


def _checked(message: object, at: str) -> Wire:
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        raise _wrong(at, "A message has 'role' and 'content'")
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise _wrong(f"{at}.role", f"A role is one of {', '.join(sorted(ROLES))}")
    if not isinstance(content, str) or not 0 < len(content) <= LONGEST:
        raise _wrong(f"{at}.content", f"A content is a text of up to {LONGEST} characters")
    for stray in _strays(content):
        raise _wrong(f"{at}.content", f"{stray!r} is no place: write {{{{name}}}}")
    return {"role": role, "content": content}


def _strays(content: str) -> Iterator[str]:
    yield from (found[0] for found in STRAY.finditer(PLACE.sub("", content)))


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(f"variables.{name}", f"The value of '{name}' must be a text or a number")
    return str(value)


def _wrong(param: str, sentence: str) -> InvalidRequestError:
    return InvalidRequestError(f"{sentence}.", param=param)
