"""List Gemini's models, page by page, without Google's client. Imported on first use only."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from llm_gateway.providers.sdk_transport import Send, check_json
from llm_gateway.types import Outgoing

_PATH = "/v1beta/models?pageSize=1000"
_KIND = "models/"
# More pages than these no provider has: a token that leads round in a circle is left.
_MOST_PAGES = 50


class _Model(Struct, rename="camel"):
    name: Any = None
    display_name: Any = None
    input_token_limit: Any = None
    output_token_limit: Any = None
    supported_generation_methods: Any = None
    thinking: Any = None

    @property
    def id(self) -> object:
        return self.name.removeprefix(_KIND) if isinstance(self.name, str) else None

    @property
    def context_window(self) -> object:
        return self.input_token_limit

    @property
    def max_output_tokens(self) -> object:
        return self.output_token_limit


class _Page(Struct, rename="camel"):
    models: list[_Model] = []
    next_page_token: str = ""


async def listed(base_url: str, send: Send) -> AsyncGenerator[object, None]:
    del base_url  # is where `send` sends
    path = _PATH
    for _ in range(_MOST_PAGES):
        answer = await send("GET", Outgoing(path=path, body=b""))
        check_json(answer)
        page = msgspec.json.decode(answer.body, type=_Page)
        for model in page.models:
            yield model
        if not page.next_page_token:
            return
        path = f"{_PATH}&pageToken={quote(page.next_page_token, safe='')}"
