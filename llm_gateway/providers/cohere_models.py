"""List Cohere's models: no official client of ours speaks to it. Imported on first use only."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.providers.sdk_transport import Send, check_json
from llm_gateway.types import Outgoing

_PATH = "/v1/models?page_size=1000"


class _Model(Struct):
    name: Any = None
    context_length: Any = None
    endpoints: Any = None


class _Page(Struct):
    models: list[_Model] = []


async def listed(base_url: str, send: Send) -> AsyncGenerator[object, None]:
    del base_url  # is where `send` sends
    answer = await send("GET", Outgoing(path=_PATH, body=b""))
    check_json(answer)
    for model in msgspec.json.decode(answer.body, type=_Page).models:
        model.context_length = _whole(model.context_length)
        yield model


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value
