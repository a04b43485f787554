"""List what a key may call. It is a list of the configuration, not of rows: it has no pages."""

import msgspec
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView, parameters, whole_number
from llm_gateway.service import catalogue, process

LARGEST_CONTEXT, BEST_QUALITY = 10**9, 100


class Models(GatewayView):
    @extend_schema(
        operation_id="models",
        summary="Models and routes this key may call",
        description="With a filter, models alone.",
        tags=["inference"],
        parameters=[
            OpenApiParameter("capability", str, description="chat, tools, vision, embeddings, …"),
            OpenApiParameter("min_context", int, description="Tokens of the context window."),
            OpenApiParameter("min_quality", int, description="0 to 100."),
            OpenApiParameter("provider", str),
        ],
        responses={200: schemas.Models, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        given = parameters(request, "capability", "min_context", "min_quality", "provider")
        wanted = catalogue.Wanted(
            capability=given.get("capability"),
            min_context=whole_number(given, "min_context", 0, LARGEST_CONTEXT),
            min_quality=whole_number(given, "min_quality", 0, BEST_QUALITY),
            provider=given.get("provider"),
        )
        runtime = await process.opened()
        data = catalogue.models(runtime, self.caller, wanted)
        routes = [] if given else catalogue.routes(runtime, self.caller)
        return Response(msgspec.to_builtins({"data": data, "routes": routes}))
