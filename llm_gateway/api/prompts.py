"""Let a tenant keep prompts: made, read, changed into a next version, removed."""

from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Max
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import prompt_schemas, schemas
from llm_gateway.api.views import (
    GatewayView,
    check_fields,
    parameters,
    text_field,
    whole_number,
)
from llm_gateway.models import Prompt, PromptVersion
from llm_gateway.prompts.templates import names_of
from llm_gateway.service import prompt_book
from llm_gateway.service.body import parse_body

PAGE, LONGEST_PAGE = 50, 200
TAGS = ["prompts"]
LONGEST_DESCRIPTION = 300


class Prompts(GatewayView):
    @extend_schema(
        operation_id="prompts",
        summary="The tenant's prompts, by name",
        tags=TAGS,
        parameters=[
            OpenApiParameter("limit", int, description=f"Up to {LONGEST_PAGE}, default {PAGE}."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
        responses={200: prompt_schemas.PromptRows, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        given = parameters(request, "limit", "cursor")
        size = max(1, whole_number(given, "limit", PAGE, LONGEST_PAGE))
        rows = Prompt.objects.of(self.caller.tenant_id).annotate(latest=Max("versions__number"))
        rows = rows.filter(name__gt=given.get("cursor", "")).order_by("name")[: size + 1]
        found = [row async for row in rows]
        more = len(found) > size
        data = [_row(row, row.latest) for row in found[:size]]
        return Response({"data": data, "next": found[size - 1].name if more else None})

    @extend_schema(
        operation_id="create_prompt",
        summary="Keep a new prompt",
        tags=TAGS,
        request=prompt_schemas.NewPrompt,
        responses={201: prompt_schemas.Prompt, "4XX": schemas.PROBLEM},
    )
    async def post(self, request: Request) -> Response:
        body = parse_body(request.read())
        check_fields(body, {"name", "description", "messages", "defaults"})
        draft = prompt_book.draft_of(body.get("messages"), body.get("defaults"))
        about = text_field(body, "description", LONGEST_DESCRIPTION) or ""
        caller = self.caller

        def create() -> dict[str, Any]:
            actor, tenant_id = caller.key_public_id, caller.tenant_id
            return _told(prompt_book.create(actor, tenant_id, body.get("name"), about, draft))

        return Response(await sync_to_async(create)(), status=201)


class OnePrompt(GatewayView):
    @extend_schema(
        operation_id="prompt",
        summary="One prompt, in its latest version or an older one",
        tags=TAGS,
        parameters=[OpenApiParameter("version", int)],
        responses={200: prompt_schemas.Prompt, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request, name: str) -> Response:
        given = parameters(request, "version")
        number = whole_number(given, "version", 0, 10**9) or None
        tenant_id = self.caller.tenant_id

        def read() -> dict[str, Any]:
            return _told(prompt_book.find(tenant_id, name), number)

        return Response(await sync_to_async(read)())

    @extend_schema(
        operation_id="change_prompt",
        summary="Say what a prompt is from now on: a new version",
        description="What is the same as the latest version makes no new one.",
        tags=TAGS,
        request=prompt_schemas.ChangedPrompt,
        responses={200: prompt_schemas.Prompt, "4XX": schemas.PROBLEM},
    )
    async def put(self, request: Request, name: str) -> Response:
        body = parse_body(request.read())
        check_fields(body, {"description", "messages", "defaults"})
        draft = prompt_book.draft_of(body.get("messages"), body.get("defaults"))
        about = text_field(body, "description", LONGEST_DESCRIPTION)
        caller = self.caller

        def change() -> dict[str, Any]:
            row = prompt_book.find(caller.tenant_id, name)
            prompt_book.change(caller.key_public_id, row, about, draft)
            return _told(row)

        return Response(await sync_to_async(change)())

    @extend_schema(
        operation_id="remove_prompt",
        summary="Remove a prompt with all its versions",
        tags=TAGS,
        request=None,
        responses={204: None, "4XX": schemas.PROBLEM},
    )
    async def delete(self, request: Request, name: str) -> Response:
        del request
        caller = self.caller

        def remove() -> None:
            prompt_book.remove(caller.key_public_id, prompt_book.find(caller.tenant_id, name))

        await sync_to_async(remove)()
        return Response(status=204)


def _row(prompt: Prompt, latest: int) -> dict[str, Any]:
    return {
        "name": prompt.name,
        "description": prompt.description,
        "version": latest,
        "created_at": prompt.created_at.isoformat(),
        "updated_at": prompt.updated_at.isoformat(),
    }


def _told(prompt: Prompt, number: int | None = None) -> dict[str, Any]:
    """Return a prompt in one version, with the numbers of all. Reads the database."""
    shown = prompt_book.version_of(prompt, number)
    versions: list[PromptVersion] = list(prompt.versions.order_by("-number"))
    return {
        **_row(prompt, shown.number),
        "messages": shown.messages,
        "defaults": shown.defaults,
        "variables": names_of(shown.messages),
        "versions": [
            {"version": one.number, "created_at": one.created_at.isoformat()} for one in versions
        ],
    }
