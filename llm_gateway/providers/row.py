"""Say what the gateway knows of one kind of provider, and which protocol it speaks where."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.types import Quirks

# Where each official client lists models; one line is enough where that can be said.
_LISTS = MappingProxyType(
    {
        "openai": "/models",
        "anthropic": "/v1/models?limit=1",
        "cohere": "/v1/models?page_size=1",
        "gemini": "/v1beta/models?pageSize=1",
    }
)
REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]")
# Servers that copy OpenAI's protocol mostly know the older names and not the newer role.
PLAIN = Quirks(max_tokens_field="max_tokens", developer_role=False)


class Speech(Struct, frozen=True, kw_only=True):
    """A protocol and its quirks: `adapters` maps an operation to an adapter's name.

    `sdk_path` is what the base URL of the official client has behind ours.
    """

    adapters: Mapping[str, str]
    quirks: Quirks = PLAIN
    sdk_path: str = ""


class Row(Struct, frozen=True, kw_only=True):
    """One kind of provider.

    `adapters` maps an operation to an adapter's name; one that is missing is not served.
    `base_url` empty: the configuration has to give it, or the region in `regional_url`.
    `elsewhere`: what it speaks at an address that ends so. `options`: what a configuration may set
    beside, with what holds otherwise. `prices`: its id in genai-prices. `windows_known` is false
    where the operator says how much a model holds. `sdk`: the official client that lists its models
    and tries its keys. `tokens`: how models of names that nobody knows count, a family of
    `tokens.families`. `key_variable`: where its own SDK looks for a key. `key_optional`: servers
    that may need none.
    """

    kind: str
    title: str
    adapters: Mapping[str, str]
    base_url: str = ""
    regional_url: str = ""
    needs_base_url: bool = False
    auth: Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "aws-sigv4", "none"] = (
        "bearer"
    )
    key_optional: bool = False
    key_variable: str = ""
    quirks: Quirks = PLAIN
    elsewhere: Mapping[str, Speech] = {}
    options: Mapping[str, str] = {}
    windows_known: bool = True
    sdk: Literal["openai", "anthropic", "cohere", "gemini"] | None = "openai"
    sdk_path: str = ""
    prices: str | None = None
    tokens: str = "other"


def address_of(row: Row, base_url: str, options: Mapping[str, Any]) -> str:
    """Return the base URL in force: the one given, else the row's; empty where there is none."""
    if base_url or row.base_url:
        return base_url or row.base_url
    region = str(options.get("region") or "")
    # It becomes a part of a host name: nothing else may stand there.
    return row.regional_url.replace("{region}", region) if REGION.fullmatch(region) else ""


def models_path(row: Row, speech: Speech) -> str:
    """Return the path of the model list under the address in force; empty where there is none."""
    return "" if row.sdk is None else speech.sdk_path + _LISTS[row.sdk]


def speech_at(row: Row, address: str, options: Mapping[str, Any]) -> Speech:
    """Return what a provider of this kind speaks at this address; paths have their options in."""
    bare = address.rstrip("/")
    found = next((said for end, said in row.elsewhere.items() if bare.endswith(end)), None)
    own = Speech(adapters=row.adapters, quirks=row.quirks, sdk_path=row.sdk_path)
    speech = found or own
    if not speech.quirks.paths:
        return speech
    paths = speech.quirks.paths
    for name, usual in row.options.items():
        given = str(options.get(name) or usual)
        paths = tuple((operation, path.replace(f"{{{name}}}", given)) for operation, path in paths)
    return replace(speech, quirks=replace(speech.quirks, paths=paths))
