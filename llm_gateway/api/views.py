"""What every view of the native API starts from: closed, keyed, JSON whatever is accepted."""

from collections.abc import Iterable
from typing import Any

from adrf.views import APIView
from django.http.response import HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from typing_extensions import override

from llm_gateway.api.access import Keyed
from llm_gateway.errors import InvalidRequestError
from tenants.ids import new_id
from tenants.types import Caller


class AlwaysFirst(BaseContentNegotiation):
    """An event-stream client accepts no JSON, and still has to be told of errors."""

    @override
    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        return next(iter(parsers))

    @override
    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        del request, format_suffix
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class GatewayView(APIView):  # type: ignore[misc] # adrf has no types
    """`caller` is set by the permission before a handler runs."""

    permission_classes: tuple[type[BasePermission], ...] = (Keyed,)
    content_negotiation_class = AlwaysFirst
    caller: Caller

    @override
    def setup(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.request_id = new_id()

    @override
    def finalize_response(
        self, request: Any, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("x-request-id", str(self.request_id))
        return response


def parameters(request: Request, *known: str) -> dict[str, str]:
    """Return the query's parameters. Raises InvalidRequestError for one that is not known."""
    for name in request.query_params:
        if name not in known:
            raise InvalidRequestError(f"'{name}' is not a parameter of this list.", param=name)
    return {name: str(value) for name, value in request.query_params.items() if value}


def check_fields(body: dict[str, Any], known: Iterable[str]) -> None:
    """Raise InvalidRequestError for a field of a body that is not known."""
    for field in body.keys() - set(known):
        raise InvalidRequestError(f"'{field}' is not a parameter.", param=field)


def text_field(body: dict[str, Any], name: str, most: int) -> str | None:
    """Return a text of a body, None where it is left out. Raises InvalidRequestError."""
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > most):
        raise InvalidRequestError(
            f"'{name}' must be a text of up to {most} characters.", param=name
        )
    if value is not None and "\x00" in value:
        raise InvalidRequestError(f"'{name}' holds a character that is no text.", param=name)
    return value


def whole_number(given: dict[str, str], name: str, default: int, most: int) -> int:
    """Return a parameter from 0 to `most`. Raises InvalidRequestError."""
    text = given.get(name, str(default))
    if not text.isdecimal() or len(text) > 12 or int(text) > most:  # noqa: PLR2004 - digits
        raise InvalidRequestError(f"'{name}' must be a whole number up to {most}.", param=name)
    return int(text)
