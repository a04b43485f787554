"""Make every outgoing call: judged address, built headers, no redirect, no retry, bounded times.

A call that can be billed needs a hold in hand. Whatever is raised names no secret and no address.
Of aiohttp it takes connector and parser, and not the session: what follows redirects, keeps
cookies, repeats requests and reads proxies from the environment is then not there at all.
"""

import asyncio
import math
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from msgspec import Struct
from yarl import URL

from llm_gateway.errors import InvalidRequestError, NotSentError, UpstreamError
from llm_gateway.providers import wire
from llm_gateway.providers.auth import SIGNED, Credential, auth_headers, signature
from llm_gateway.providers.connections import CheckedResolver, Connector
from llm_gateway.providers.endpoint import MOCK_URL, Endpoint
from llm_gateway.providers.gate import Gate
from llm_gateway.providers.headers import HOP_HEADER, build_headers
from llm_gateway.providers.http_upstream import HttpUpstream
from llm_gateway.providers.mock_transport import MockTransport
from llm_gateway.providers.sigv4 import Signable
from llm_gateway.providers.upstream import Answer, Hold, Upstream
from llm_gateway.providers.watchdog import Watchdog
from llm_gateway.types import Outgoing, Timeouts

# Waiting for a slot of the provider (faults.md §3, §8).
_PROVIDER_WAIT_S = 0.5
# A pool nobody used for this long is closed when the next one is opened.
_POOL_IDLE_S = 120.0
_LONGEST_FREE_CALL_S = 30.0
# No '..' or '.' segment, also not escaped, and nothing that would need escaping.
_PATH = re.compile(
    r"(?:/(?!(?:\.|%2[eE]){1,2}(?:[/?]|$))[A-Za-z0-9._~!$&'()*+,;=:@%-]*)+(?:\?[!-~]*)?"
)


class _Call(Struct, frozen=True):
    """One request to be sent; `whose` is the tenant that waits for it, 0 ourselves."""

    whose: int
    method: str
    endpoint: Endpoint
    outgoing: Outgoing
    credential: Credential | None


@dataclass(slots=True, eq=False)
class _Pool:
    """The connections of one credential to one origin."""

    connector: Connector
    busy: int = 0
    used_at: float = 0.0  # on the loop's clock


class Egress:
    """The process's one way out. Make it inside the running loop, close it at the end."""

    def __init__(
        self,
        *,
        version: str,
        mock: MockTransport[Any] | None = None,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Look names up by `resolver`; trust `tls` instead of the usual CAs. TLS is verified."""
        if tls is not None and not (tls.check_hostname and tls.verify_mode is ssl.CERT_REQUIRED):
            raise ValueError("a TLS context that verifies nothing is not taken")
        self._loop = asyncio.get_running_loop()
        self._resolver = resolver or aiohttp.ThreadedResolver()
        self._tls = tls
        self._mock = mock
        self._base_headers = {
            "user-agent": f"mobius/{version}",
            "accept": "*/*",
            "accept-encoding": "identity",
            HOP_HEADER: "1",
        }
        self._pools: dict[tuple[int | None, str, bool], _Pool] = {}
        self._gates: dict[int, Gate] = {}
        self._last_timeout = aiohttp.ClientTimeout()
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close every connection, running answers included."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.connector.close()

    def check_room(self, provider_id: int, whose: int) -> None:
        """Raise BusyError where a call for the tenant would not even be let wait."""
        gate = self._gates.get(provider_id)
        if gate is not None:
            gate.check(whose)

    async def send(
        self,
        hold: Hold,
        endpoint: Endpoint,
        outgoing: Outgoing,
        credential: Credential | None,
        timeouts: Timeouts,
        deadline: float,
    ) -> Upstream:
        """Send a call that `hold` pays for; return once the head of the answer is here.

        `deadline` is on the loop's clock. Raises NotSentError, CredentialError or
        InvalidRequestError before anything was sent, DroppedError, UpstreamTimeoutError,
        DeadlineError or InvalidAnswerError after. Any status is an answer.
        """
        if hold.id is None:
            raise ValueError("a call that can be billed needs a hold")
        watch = Watchdog(timeouts, deadline, streamed=outgoing.stream)
        call = _Call(hold.tenant_id, "POST", endpoint, outgoing, credential)
        return await self._run(call, watch, timeouts.connect, deadline)

    async def free_call(
        self,
        endpoint: Endpoint,
        method: str,
        outgoing: Outgoing,
        credential: Credential | None,
        timeouts: Timeouts,
    ) -> Answer:
        """Make a call that no provider bills: model lists, key checks, counting tokens."""
        deadline = self._loop.time() + min(timeouts.total, _LONGEST_FREE_CALL_S)
        watch = Watchdog(timeouts, deadline, streamed=False)
        call = _Call(0, method, endpoint, outgoing, credential)
        upstream = await self._run(call, watch, timeouts.connect, deadline)
        try:
            body = await upstream.read()
        except BaseException:
            upstream.abort()
            raise
        await upstream.close()
        return Answer(status=upstream.status, headers=upstream.headers, body=body)

    # --- one call

    async def _run(
        self, call: _Call, watch: Watchdog, connect_s: float, deadline: float
    ) -> Upstream:
        if call.endpoint.origin == MOCK_URL:
            return await self._play(call, watch, deadline)
        headers = self._headers(call)
        target = _target(call.endpoint, call.outgoing.path)
        address = wire.address(call.endpoint.base_url, self._loop)
        host = address.headers["host"]
        body = call.outgoing.body
        if call.endpoint.auth == SIGNED:
            headers |= _signature(call, host, target)
        head = wire.request_head(call.method, target, host, headers, len(body))
        leave, pool = await self._enter(call, deadline)
        upstream = HttpUpstream(watch, leave)
        failure: UpstreamError | None = None
        try:
            timeout = self._timeout(connect_s, deadline)
            upstream.connected(await pool.connector.connect(address, [], timeout))
            await upstream.exchange(head, body)
        except (UpstreamError, aiohttp.ClientError, OSError) as error:
            failure = upstream.failed(error, deadline=deadline)
        except BaseException:
            upstream.abort()
            raise
        # Raised outside the handler: aiohttp's own errors carry our headers, keys included.
        if failure is not None:
            raise failure
        return upstream

    async def _play(self, call: _Call, watch: Watchdog, deadline: float) -> Upstream:
        if self._mock is None:
            raise NotSentError("There is no mock provider in this process.")
        gate = self._gate(call.endpoint)
        await gate.enter(call.whose, deadline=deadline)
        try:
            leave = partial(gate.leave, call.whose)
            return self._mock.answer(call.endpoint, call.outgoing, watch, leave)
        except BaseException:
            gate.leave(call.whose)
            raise

    async def _enter(self, call: _Call, deadline: float) -> tuple[Callable[[], None], _Pool]:
        """Take a slot of the provider, which what returns gives back, and a pool to connect by."""
        gate = self._gate(call.endpoint)
        await gate.enter(call.whose, deadline=deadline)
        pool = self._pool(call.endpoint, call.credential)
        pool.busy += 1

        def leave() -> None:
            pool.used_at = self._loop.time()
            pool.busy -= 1
            gate.leave(call.whose)

        return leave, pool

    def _headers(self, call: _Call) -> dict[str, str]:
        endpoint = call.endpoint
        base = {**self._base_headers, **dict(endpoint.default_headers)}
        if call.outgoing.body:
            base["content-type"] = "application/json"
        headers = build_headers(endpoint.protocol, call.outgoing.headers, base)
        if call.credential is not None or not endpoint.key_optional:
            headers.update(auth_headers(endpoint.auth, call.credential, origin=endpoint.origin))
        return headers

    def _timeout(self, connect_s: float, deadline: float) -> aiohttp.ClientTimeout:
        """Bound connecting alone: the watchdog bounds what comes after."""
        bound = min(connect_s, deadline - self._loop.time())
        if self._last_timeout.connect != bound:
            # Longer ones would be rounded up to a whole second, past the deadline.
            self._last_timeout = aiohttp.ClientTimeout(
                connect=max(0.001, bound), ceil_threshold=math.inf
            )
        return self._last_timeout

    # --- gates and pools

    def _gate(self, endpoint: Endpoint) -> Gate:
        limit = endpoint.max_concurrent_requests
        gate = self._gates.get(endpoint.provider_id)
        if gate is None:
            gate = self._gates[endpoint.provider_id] = Gate(limit, longest_s=_PROVIDER_WAIT_S)
        gate.limit = limit
        return gate

    def _pool(self, endpoint: Endpoint, credential: Credential | None) -> _Pool:
        # The flag is part of the key: taking it away must not leave open what it had opened.
        key = (
            None if credential is None else credential.id,
            endpoint.origin,
            endpoint.allow_private_network,
        )
        pool = self._pools.get(key)
        if pool is None:
            self._close_unused()
            pool = self._pools[key] = self._open_pool(endpoint)
        return pool

    def _open_pool(self, endpoint: Endpoint) -> _Pool:
        connector = Connector(
            CheckedResolver(self._resolver, allow_private=endpoint.allow_private_network),
            tls=self._tls or True,
            kept_alive=endpoint.kept_alive,
        )
        return _Pool(connector)

    def _close_unused(self) -> None:
        old = self._loop.time() - _POOL_IDLE_S
        for key, pool in list(self._pools.items()):
            if pool.busy == 0 and pool.used_at < old:
                del self._pools[key]
                task = self._loop.create_task(pool.connector.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)


def _signature(call: _Call, host: str, target: str) -> dict[str, str]:
    return signature(
        Signable(method=call.method, host=host, path=target, body=call.outgoing.body),
        call.credential,
        region=call.endpoint.options.get("region"),
        now=datetime.now(UTC),
    )


def _target(endpoint: Endpoint, path: str) -> str:
    """Return what stands in the request line."""
    if not _PATH.fullmatch(path):
        raise InvalidRequestError("The model's name does not fit into a URL.", param="model")
    return _base_path(endpoint.base_url) + path


@lru_cache(maxsize=1024)
def _base_path(base_url: str) -> str:
    return URL(base_url, encoded=True).raw_path.rstrip("/")
