"""The thinnest pass-through that Python allows on this stack: what every figure is held against."""

import os
from typing import Any

import aiohttp

UPSTREAM = os.environ.get("THIN_UPSTREAM", "")
_session: list[aiohttp.ClientSession] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if not _session:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=75)
        _session.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))
    body = (await receive())["body"]
    async with _session[0].post(UPSTREAM + scope["path"], data=body) as answer:
        kind = answer.headers["content-type"].encode()
        start = {"type": "http.response.start", "status": answer.status}
        if kind == b"application/json":
            whole = await answer.read()
            length = (b"content-length", str(len(whole)).encode())
            await send({**start, "headers": [(b"content-type", kind), length]})
            await send({"type": "http.response.body", "body": whole})
            return
        await send({**start, "headers": [(b"content-type", kind)]})
        async for chunk in answer.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
