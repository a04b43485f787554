"""Tell the browser what a page may do: nothing is kept, framed or fetched from elsewhere.

A view that sets one of these headers itself keeps what it set.
"""

import secrets
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

CONSOLE = "/admin/"

# The console's theme evaluates expressions in attributes and writes style attributes; scripts
# written into the page are refused there too.
_LOOSER = "script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"
_STRICT = "script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'"
_REST = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)


class PageHeaders:
    """Middleware: `request.csp_nonce` is what a page's own inline script has to carry."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], object]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> object:
        request.csp_nonce = secrets.token_urlsafe(16)  # type: ignore[attr-defined] # ours
        response = self._get_response(request)
        if isinstance(response, HttpResponseBase):
            return _marked(request, response)
        assert isinstance(response, Awaitable)  # noqa: S101 - for the type checker
        return self._later(request, response)

    async def _later(
        self, request: HttpRequest, response: Awaitable[HttpResponseBase]
    ) -> HttpResponseBase:
        return _marked(request, await response)


def _marked(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    scripts = _LOOSER if request.path.startswith(CONSOLE) else _STRICT
    nonce = request.csp_nonce  # type: ignore[attr-defined] # set above
    response.headers.setdefault(
        "Content-Security-Policy", f"{_REST}; {scripts.format(nonce=nonce)}"
    )
    # Django's admin asks for less: it would still let the page be stored.
    response.headers["Cache-Control"] = "private, no-store"
    return response
