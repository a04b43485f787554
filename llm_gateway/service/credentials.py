"""Say who calls, in the errors that every door answers with."""

import logging
from collections.abc import Mapping
from typing import Any

from django.db import Error

from llm_gateway.errors import AuthUnavailableError, InvalidApiKeyError, RateLimitError
from llm_gateway.service.runtime import Runtime
from tenants.auth import CredentialProblem
from tenants.types import Caller

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
