"""Ask several models at once: the first good answer (a race), or every answer side by side."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from msgspec.structs import replace
from rest_framework.request import Request

from llm_gateway.adapters import native
from llm_gateway.api import schemas
from llm_gateway.api.inference import TAGS, Inference, check_no_stream
from llm_gateway.errors import GatewayError, InvalidRequestError
from llm_gateway.service import asking, chatting
from llm_gateway.service.asking import Completion
from tenants.ids import new_id


class Race(Inference):
    @extend_schema(
        operation_id="race",
        summary="Ask several models at once and get the first good answer",
        description=(
            "The others are ended at once; what their providers bill until then is charged. Each"
            " needs room of its own in the budgets: one that does not fit is not asked."
        ),
        tags=TAGS,
        request=schemas.SeveralRequest,
        responses={200: schemas.Completion, "4XX": schemas.PROBLEM, "5XX": schemas.PROBLEM},
    )
    async def post(self, request: Request) -> HttpResponse:
        body, asker = await self.read(request)
        _names(body, asker)
        return await self.complete(request, body, asking.racing(asker, asker.controls.further))


class Parallel(Inference):
    @extend_schema(
        operation_id="parallel",
        summary="Ask several models at once and get every answer",
        description=(
            "One request for each model, with budgets, cost, time and a line in the request log of"
            " its own. A model that fails has its `problem` in place of an answer; where all fail,"
            " the first one's problem is all there is."
        ),
        tags=TAGS,
        request=schemas.SeveralRequest,
        responses={200: schemas.Answers, "4XX": schemas.PROBLEM, "5XX": schemas.PROBLEM},
    )
    async def post(self, request: Request) -> HttpResponse:
        body, asker = await self.read(request)
        check_no_stream(body)
        names = _names(body, asker)
        if body.get("conversation") is not None:
            raise InvalidRequestError(
                "A conversation goes on with one answer.", param="conversation"
            )
        if asker.idempotency is not None:
            raise InvalidRequestError(
                "Several answers cannot be kept under one Idempotency-Key.",
                param="Idempotency-Key",
            )
        asked = [self._one(request, {**body, "model": name}, asker) for name in names]
        outcomes = await asyncio.gather(*asked)
        faults = [outcome for outcome in outcomes if isinstance(outcome, GatewayError)]
        if len(faults) == len(outcomes):
            raise faults[0]
        answers = [
            {"asked": name, **_told(outcome, self.request_id)}
            for name, outcome in zip(names, outcomes, strict=True)
        ]
        response = HttpResponse(
            msgspec.json.encode({"answers": answers}), content_type="application/json"
        )
        response["x-request-id"] = str(self.request_id)
        return response

    async def _one(
        self, request: Request, body: dict[str, Any], asker: asking.Asker
    ) -> Completion | GatewayError:
        own = replace(asker, request_id=new_id(), controls=replace(asker.controls, further=()))
        try:
            chat = await chatting.chat_of(own, body)
            _, answer = await self.ask(request, chat.inbound)
            return await chatting.whole(chat, answer, own)
        except GatewayError as error:
            return error


def _told(outcome: Completion | GatewayError, request_id: UUID) -> dict[str, Any]:
    if isinstance(outcome, GatewayError):
        return {"problem": native.render_error(outcome, request_id=str(request_id))}
    told: dict[str, Any] = msgspec.to_builtins(outcome)
    return told


def _names(body: dict[str, Any], asker: asking.Asker) -> list[str]:
    """Return the models to ask together. Raises InvalidRequestError."""
    names = [str(body.get("model")), *asker.controls.further]
    asking.check_racers(names)
    return names
