"""Read the gateway's own request headers (contract §4); a value not understood is a 400."""

import math
import re
from collections.abc import Mapping
from typing import Literal, get_args

from llm_gateway.errors import InvalidRequestError
from llm_gateway.service.inbound import Controls
from llm_gateway.types import StrategyName

MAX_TAGS, MAX_TAG = 16, 512

_ID = re.compile(r"[\x21-\x7e]{1,128}")
_NONE = Controls()
_TIMEOUT, _WAITS = "x-mobius-timeout", ("connect", "first_token", "idle", "total")
_FOR_PROVIDERS = (b"anthropic-version", b"anthropic-beta", b"openai-beta")
_STRATEGIES = frozenset(get_args(StrategyName))


def parse_controls(headers: Mapping[bytes, bytes]) -> Controls:
    """Return the controls of a request. Raises InvalidRequestError naming the header."""
    if not any(name.startswith(b"x-mobius-") for name in headers):
        return _NONE
    return Controls(
        waits=_timeouts(headers),
        strategy=_one_of(headers, "x-mobius-strategy", _STRATEGIES),
        fallbacks=_one_of(headers, "x-mobius-fallbacks", {"on", "off"}) != "off",
        provider=_identifier(headers, "x-mobius-provider"),
        cache=_cache(headers),
        tags=_tags(headers),
        run=_identifier(headers, "x-mobius-run"),
        hops=_hops(headers),
    )


def identifier(text: str | None, named: str) -> str | None:
    """Return a name that a caller gives to something. Raises InvalidRequestError."""
    if text is not None and not _ID.fullmatch(text):
        raise InvalidRequestError(f"{named} has to be 1 to 128 visible characters.", param=named)
    return text


def passed_on(headers: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    """Return the headers that a provider of the caller's own dialect understands."""
    return tuple(
        (name.decode(), headers[name].decode("latin-1"))
        for name in _FOR_PROVIDERS
        if name in headers
    )


def _text(headers: Mapping[bytes, bytes], name: str) -> str | None:
    raw = headers.get(name.encode())
    if raw is None:
        return None
    try:
        return raw.decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name} holds characters outside ASCII.", param=name) from None


def _timeouts(headers: Mapping[bytes, bytes]) -> dict[str, float]:
    """Return the seconds of each timeout that is named: `30` is that of the whole request."""
    text = _text(headers, _TIMEOUT)
    if text is None:
        return {}
    if "=" not in text:
        return {"total": _seconds(text)}
    found = {}
    for pair in text.split(","):
        name, _, seconds = (part.strip() for part in pair.partition("="))
        if name not in _WAITS or name in found:
            raise InvalidRequestError(
                f"{_TIMEOUT} has to be a number of seconds, or name some of {', '.join(_WAITS)}"
                " once, as in first_token=5,total=30.",
                param=_TIMEOUT,
            )
        found[name] = _seconds(seconds)
    return found


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86_400:  # noqa: PLR2004 - a day
        raise InvalidRequestError(f"{_TIMEOUT} has to be a number of seconds.", param=_TIMEOUT)
    return seconds


def _one_of(
    headers: Mapping[bytes, bytes], name: str, choices: set[str] | frozenset[str]
) -> str | None:
    text = _text(headers, name)
    if text is not None and text not in choices:
        listed = ", ".join(sorted(choices))
        raise InvalidRequestError(f"{name} has to be one of {listed}.", param=name)
    return text


def _identifier(headers: Mapping[bytes, bytes], name: str) -> str | None:
    return identifier(_text(headers, name), name)


def _tags(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    name = "x-mobius-tags"
    text = _text(headers, name)
    if not text:
        return {}
    tags = {}
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (equals and _ID.fullmatch(key) and value.isprintable() and len(value) <= MAX_TAG):
            raise InvalidRequestError(f"{name} has to look like team=research,env=dev.", param=name)
        if key in tags:
            raise InvalidRequestError(f"{name} names {key} twice.", param=name)
        tags[key] = value
    if len(tags) > MAX_TAGS:
        raise InvalidRequestError(f"{name} holds more than {MAX_TAGS} tags.", param=name)
    return tags


def _cache(headers: Mapping[bytes, bytes]) -> Literal["no-cache", "no-store"] | None:
    name = "x-mobius-cache"
    match _one_of(headers, name, {"no-cache", "no-store", "semantic"}):
        case "no-cache":
            return "no-cache"
        case "no-store":
            return "no-store"
        case "semantic":
            raise InvalidRequestError(f"{name}: semantic is not in force yet.", param=name)
        case _:
            return None


def _hops(headers: Mapping[bytes, bytes]) -> int:
    text = _text(headers, "x-mobius-hop") or "0"
    if not text.isdecimal() or len(text) > 3:  # noqa: PLR2004 - digits
        raise InvalidRequestError("x-mobius-hop is not a number.", param="x-mobius-hop")
    return int(text)
