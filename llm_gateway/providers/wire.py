"""Put a request into bytes. Names and values were judged before: see `headers`, `auth`."""

import asyncio
from collections.abc import Mapping
from functools import lru_cache

import aiohttp
from yarl import URL


def request_head(
    method: str, target: str, host: str, headers: Mapping[str, str], size: int
) -> bytes:
    """Return everything up to the blank line; `size` is the body's, `host` the Host header's."""
    lines = [f"{method} {target} HTTP/1.1\r\nhost: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if size:
        lines.append(f"content-length: {size}")
    return "\r\n".join([*lines, "\r\n"]).encode("ascii")


@lru_cache(maxsize=1024)
def address(base_url: str, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientRequest:
    """Return what a pool connects by: scheme, host and port of the base URL, never sent itself."""
    return aiohttp.ClientRequest("GET", URL(base_url, encoded=True), loop=loop)
