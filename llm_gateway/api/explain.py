"""Tell what would be done with a request; it costs nothing and is sent nowhere."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.inference import Inference
from llm_gateway.service.asking import asked_for
from llm_gateway.service.explaining import explain


class Explain(Inference):
    @extend_schema(
        operation_id="explain",
        summary="What would be done with this request",
        description=(
            "The body of a chat, as `/v1/chat/completions` or `complete` take it; `x-mobius-*`"
            " headers count. Told are limits with numbers, candidates in order with circuit,"
            " cost and budgets, and each model that was dropped with its reason."
        ),
        tags=["inference"],
        request=schemas.CompleteRequest,
        responses={200: schemas.Explanation, "4XX": schemas.PROBLEM},
    )
    async def post(self, request: Request) -> HttpResponse:
        body, asker = await self.read(request)
        told: dict[str, Any] = await explain(asker.runtime, asked_for(asker, body))
        return Response(told)
