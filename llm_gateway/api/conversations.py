"""Let a tenant begin, read, name and remove its conversations; they grow with each turn."""

from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
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
from llm_gateway.errors import InvalidRequestError
from llm_gateway.models import Conversation
from llm_gateway.service import conversations
from llm_gateway.service.body import parse_body
from tenants import audit

PAGE, LONGEST_PAGE = 50, 200
MESSAGES, MOST_MESSAGES = 200, 1_000
LONGEST_TITLE = 300
TAGS = ["conversations"]


class Conversations(GatewayView):
    @extend_schema(
        operation_id="conversations",
        summary="The tenant's conversations, newest first",
        tags=TAGS,
        parameters=[
            OpenApiParameter("limit", int, description=f"Up to {LONGEST_PAGE}, default {PAGE}."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
        responses={200: prompt_schemas.ConversationRows, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        given = parameters(request, "limit", "cursor")
        size = max(1, whole_number(given, "limit", PAGE, LONGEST_PAGE))
        rows = Conversation.objects.of(self.caller.tenant_id).order_by("-id")
        if "cursor" in given:
            rows = rows.filter(pk__lt=_cursor(given["cursor"]))
        found = [row async for row in rows[: size + 1]]
        more = len(found) > size
        data = [_row(row) for row in found[:size]]
        return Response({"data": data, "next": str(found[size - 1].pk) if more else None})

    @extend_schema(
        operation_id="create_conversation",
        summary="Begin a conversation",
        description='`"conversation": "new"` in a request begins one, too.',
        tags=TAGS,
        request=prompt_schemas.NewConversation,
        responses={201: prompt_schemas.Conversation, "4XX": schemas.PROBLEM},
    )
    async def post(self, request: Request) -> Response:
        body = parse_body(request.read() or b"{}")
        check_fields(body, {"title", "messages"})
        title = text_field(body, "title", LONGEST_TITLE) or ""
        messages = conversations.check_messages(body.get("messages") or [])
        tenant_id = self.caller.tenant_id

        def create() -> dict[str, Any]:
            row = conversations.create(tenant_id, title)
            conversations.append(row, messages, None)
            return _told(row, 0, MESSAGES)

        return Response(await sync_to_async(create)(), status=201)


class OneConversation(GatewayView):
    @extend_schema(
        operation_id="conversation",
        summary="One conversation with what was said",
        tags=TAGS,
        parameters=[
            OpenApiParameter("limit", int, description=f"Messages, up to {MOST_MESSAGES}."),
            OpenApiParameter("cursor", int, description="`next` of the page before."),
        ],
        responses={200: prompt_schemas.Conversation, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request, id: UUID) -> Response:  # noqa: A002 - as it is routed
        given = parameters(request, "limit", "cursor")
        size = max(1, whole_number(given, "limit", MESSAGES, MOST_MESSAGES))
        first = whole_number(given, "cursor", 0, conversations.MOST_MESSAGES)
        tenant_id = self.caller.tenant_id

        def read() -> dict[str, Any]:
            return _told(conversations.find(tenant_id, id), first, size)

        return Response(await sync_to_async(read)())

    @extend_schema(
        operation_id="name_conversation",
        summary="Give a conversation another title",
        tags=TAGS,
        request=prompt_schemas.ConversationTitle,
        responses={200: prompt_schemas.ConversationRow, "4XX": schemas.PROBLEM},
    )
    async def patch(self, request: Request, id: UUID) -> Response:  # noqa: A002
        body = parse_body(request.read())
        check_fields(body, {"title"})
        title = text_field(body, "title", LONGEST_TITLE)
        if title is None:
            raise InvalidRequestError("'title' must be a text.", param="title")
        tenant_id = self.caller.tenant_id

        def rename() -> dict[str, Any]:
            row = conversations.find(tenant_id, id)
            row.title = title
            row.save()
            return _row(row)

        return Response(await sync_to_async(rename)())

    @extend_schema(
        operation_id="remove_conversation",
        summary="Remove a conversation and all that was said",
        tags=TAGS,
        request=None,
        responses={204: None, "4XX": schemas.PROBLEM},
    )
    async def delete(self, request: Request, id: UUID) -> Response:  # noqa: A002
        del request
        caller = self.caller

        def remove() -> None:
            row = conversations.find(caller.tenant_id, id)
            audit.record(caller.key_public_id, "removed", row)
            row.delete()

        await sync_to_async(remove)()
        return Response(status=204)


def _cursor(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequestError("'cursor' is none of ours.", param="cursor") from None


def _row(row: Conversation) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "title": row.title,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
    }


def _told(row: Conversation, first: int, size: int) -> dict[str, Any]:
    """Return a conversation with `size` messages from `first` on. Reads the database."""
    rows = row.messages.filter(position__gte=first).order_by("position")
    found = list(rows[: size + 1])
    messages = [
        {
            **conversations.opened(one, row),
            "request_id": None if one.request_id is None else str(one.request_id),
            "created_at": one.created_at.isoformat(),
        }
        for one in found[:size]
    ]
    more = len(found) > size
    return {**_row(row), "messages": messages, "next": str(first + size) if more else None}
