"""Serve the OpenAPI document and its pages from this host alone; both are public."""

from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response
from typing_extensions import override

from llm_gateway.api.access import Open

# Swagger's page writes style attributes; its scripts are files.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline';"
    " object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class Schema(SpectacularAPIView):
    permission_classes = [Open]


class Docs(SpectacularSwaggerSplitView):
    """The page whose script is a file of its own, so that no inline script has to be allowed."""

    permission_classes = [Open]
    url_name = "schema"

    @override
    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response["Content-Security-Policy"] = _POLICY
        return response
