"""Say who calls, in the errors that every door answers with."""

import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from django.conf import settings
from django.db import Error
from django.http import parse_cookie

from llm_gateway.errors import (
    AuthUnavailableError,
    InvalidApiKeyError,
    PermissionDeniedError,
    RateLimitError,
)
from llm_gateway.service.runtime import Runtime
from tenants.auth import CredentialProblem, brings_credential, load_caller_of_held
from tenants.seats import Seat, seat_of_session
from tenants.types import Caller

# Under this name a connection of somebody signed in keeps which key it uses; never a header sent.
HELD_KEY = b"held key"

log = logging.getLogger(__name__)


async def authenticate(
    runtime: Runtime, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]
) -> Caller:
    """Return the caller behind the key of an ASGI connection.

    Raises InvalidApiKeyError, RateLimitError or AuthUnavailableError.
    """
    if b"key=" in scope.get("query_string", b""):
        raise InvalidApiKeyError("A key in the URL is never accepted; send it in a header.")
    address = (scope.get("client") or ("", 0))[0]
    try:
        return await runtime.authenticator.authenticate(headers, address)
    except CredentialProblem as problem:
        if problem.throttled:
            raise RateLimitError(str(problem), retry_after_s=60) from None
        raise InvalidApiKeyError(str(problem)) from None
    except Error:
        log.warning("A key could not be looked up: the database does not answer")
        raise AuthUnavailableError("Keys cannot be checked now.", retry_after_s=2) from None


async def identify(
    runtime: Runtime, scope: Mapping[str, Any], carrier: Mapping[bytes, bytes]
) -> Caller:
    """Return the caller behind a key, or behind a session that names a key it may try out.

    Raises what `authenticate` raises, and PermissionDeniedError.
    """
    if brings_credential(carrier) or HELD_KEY not in carrier:
        return await authenticate(runtime, scope, carrier)
    seat = await signed_in(runtime, carrier)
    if seat is None:
        raise InvalidApiKeyError("Nobody is signed in.")
    name = carrier[HELD_KEY].decode("latin-1")
    caller = await runtime.reader.read(lambda: load_caller_of_held(seat, name))
    if caller is None:
        raise PermissionDeniedError("There is no such key that you may use.")
    return caller


async def signed_in(runtime: Runtime, headers: Mapping[bytes, bytes]) -> Seat | None:
    """Return where the person behind a connection's session sits; None for nobody.

    A cookie comes along with whatever page asks: who believes it has to check the origin, or a
    token against forged requests. Raises AuthUnavailableError.
    """
    cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin-1"))
    key = cookies.get(settings.SESSION_COOKIE_NAME)
    if not key:
        return None
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    try:
        return await runtime.reader.read(lambda: seat_of_session(store))
    except Error:
        log.warning("A session could not be looked up: the database does not answer")
        raise AuthUnavailableError("Sessions cannot be checked now.", retry_after_s=2) from None
