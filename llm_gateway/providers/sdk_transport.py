"""Let an official SDK send by the egress client: it sees neither the key nor the network.

Imported on first use only: the SDKs cost a second and 60 MB.
"""

from collections.abc import Awaitable, Callable
from types import MappingProxyType

import httpx2
from typing_extensions import override

from llm_gateway.errors import InvalidAnswerError, UpstreamError
from llm_gateway.providers.upstream import Answer
from llm_gateway.types import Outgoing

# The SDKs want a key; the egress client puts the real one in.
NO_KEY = "set-by-egress"

# A method and a request → the whole answer.
Send = Callable[[str, Outgoing], Awaitable[Answer]]

_OK = 200
_SENTENCES = MappingProxyType(
    {
        401: "The provider refused the key.",
        403: "The provider knows the key but does not let it list models.",
        404: "The provider has no model list at this address: check the base URL.",
        429: "The provider limits this key right now: try again later.",
    }
)


class EgressTransport(httpx2.AsyncBaseTransport):
    """Takes method, path and body of the SDK's request, and none of its headers.

    Raises UpstreamError with a sentence for people where the answer is no JSON or no success.
    """

    def __init__(self, base_url: str, send: Send) -> None:
        self._base_path = httpx2.URL(base_url).raw_path.decode("ascii").rstrip("/")
        self._send = send

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode("ascii").removeprefix(self._base_path)
        answer = await self._send(request.method, Outgoing(path=path, body=await request.aread()))
        return httpx2.Response(
            answer.status,
            headers={"content-type": check_json(answer)},
            content=answer.body,
            request=request,
        )


def check_json(answer: Answer) -> str:
    """Return the content type. Raises UpstreamError for what is no success, or no JSON."""
    if answer.status != _OK:
        sentence = f"The provider answered with status {answer.status}."
        raise UpstreamError(_SENTENCES.get(answer.status, sentence), upstream_status=answer.status)
    media_type = answer.headers.get("content-type", "")
    if "json" not in media_type.lower():
        raise InvalidAnswerError("The provider answered with something else than JSON.")
    return media_type


def client(base_url: str, send: Send) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=EgressTransport(base_url, send))
