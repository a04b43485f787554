"""A provider that costs next to nothing: fixed OpenAI answers from a bare protocol.

The model's name says what comes: `json`, `fast` (events at full speed) or `slow` (one each 20 ms).
Run with `python -m tests.load.mock_upstream PORT`.
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop
from typing_extensions import override

WORDS = 200
SLOW_WORDS, SLOW_S = 20, 0.02
_CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"%s","choices":[{"index":0,"delta":{"content":"word "},"logprobs":null,'
    b'"finish_reason":null}],"usage":null}\n\n'
)
_LAST = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"%s","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":null}\n\n'
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"%s","choices":[],"usage":{"prompt_tokens":20,"completion_tokens":200,'
    b'"total_tokens":220}}\n\ndata: [DONE]\n\n'
)
_JSON = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"json",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help?",'
    b'"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":20,'
    b'"completion_tokens":8,"total_tokens":28}}'
)
_JSON_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_JSON)
) + _JSON
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_FAST_CHUNKS = b"".join(chunked(_CHUNK % b"fast") for _ in range(WORDS))
_FAST = _STREAM_HEAD + _FAST_CHUNKS + chunked(_LAST % (b"fast", b"fast")) + _END


class Provider(asyncio.Protocol):
    """One connection."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if b'"slow"' in body:
            task = asyncio.get_running_loop().create_task(self._slow())
            task.add_done_callback(lambda _: None)
        else:
            self._transport.write(_FAST if b'"fast"' in body else _JSON_ANSWER)

    async def _slow(self) -> None:
        self._transport.write(_STREAM_HEAD)
        for _ in range(SLOW_WORDS):
            self._transport.write(chunked(_CHUNK % b"slow"))
            await asyncio.sleep(SLOW_S)
        self._transport.write(chunked(_LAST % (b"slow", b"slow")) + _END)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
