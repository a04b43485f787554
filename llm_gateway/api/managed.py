"""Let a tenant manage what it has (keys, people, budgets …) by one pair of views.

`configuration.kinds` says what each kind is and who may say what of it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from asgiref.sync import sync_to_async
from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Struct, structs
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView, parameters, whole_number
from llm_gateway.configuration import managed
from llm_gateway.configuration.kinds import KINDS
from llm_gateway.configuration.managed import Kind, Manager, Rotation
from llm_gateway.service.body import parse_body
from tenants.models import ApiKey, AuditEvent
from tenants.types import Caller

PAGE, LONGEST_PAGE = 50, 200
MOST_ROWS = 10**12 - 1
TAGS = ["management"]
CURSOR = [
    OpenApiParameter("limit", int, description=f"Up to {LONGEST_PAGE}, default {PAGE}."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]
_TYPES: Mapping[object, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    tuple: "array",
}


def manager(caller: Caller) -> Manager:
    """Return who asks. Reads the database."""
    key = ApiKey.objects.of(caller.tenant_id).filter(pk=caller.key_id).first()
    allowed = key.allowed_models if key is not None else None
    return Manager(
        actor=caller.key_public_id or caller.key,
        tenant_id=caller.tenant_id,
        project_id=caller.project_id,
        scopes=caller.scopes,
        models=None if allowed is None else frozenset(allowed),
    )


def _described(shape: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema of what may be said."""
    fields = structs.fields(shape)
    return {
        "type": "object",
        "properties": {field.encode_name: _type(field.type) for field in fields},
    }


def _type(kind: object) -> dict[str, Any]:
    arms = [arm for arm in (get_args(kind) or (kind,)) if arm is not type(None)]
    inner = kind if get_origin(kind) is Annotated else arms[0]
    base = get_args(inner)[0] if get_origin(inner) is Annotated else get_origin(inner) or inner
    if isinstance(base, type) and issubclass(base, Struct):
        return _described(base)
    return {"type": _TYPES.get(base, "string")}


class ManagedView(GatewayView):
    """A view of one kind."""

    kind: Kind[Any, Any]


class Listed(ManagedView):
    """All of a kind, page by page, and a new one."""

    async def get(self, request: Request) -> Response:
        given = parameters(request, "limit", "cursor")
        size = max(1, whole_number(given, "limit", PAGE, LONGEST_PAGE))
        after = whole_number(given, "cursor", 0, MOST_ROWS)
        kind, caller = self.kind, self.caller

        def read() -> dict[str, Any]:
            found = kind.rows(manager(caller)).filter(pk__gt=after).order_by("pk")
            rows = list(found[: size + 1])
            more = len(rows) > size
            return {
                "data": [managed.shown(kind, row) for row in rows[:size]],
                "next": str(rows[size - 1].pk) if more else None,
            }

        return Response(await sync_to_async(read)())

    async def post(self, request: Request) -> Response:
        body, kind, caller = parse_body(request.read()), self.kind, self.caller

        def create() -> dict[str, Any]:
            return managed.create(kind, manager(caller), body)

        return Response(await sync_to_async(create)(), status=201)


class One(ManagedView):
    """One of a kind: read, changed, removed."""

    async def get(self, request: Request, name: str) -> Response:
        parameters(request)
        kind, caller = self.kind, self.caller

        def read() -> dict[str, Any]:
            return managed.shown(kind, managed.find(kind, manager(caller), name))

        return Response(await sync_to_async(read)())

    async def patch(self, request: Request, name: str) -> Response:
        body, kind, caller = parse_body(request.read()), self.kind, self.caller

        def change() -> dict[str, Any]:
            return managed.change(kind, manager(caller), name, body)

        return Response(await sync_to_async(change)())

    async def delete(self, request: Request, name: str) -> Response:
        del request
        kind, caller = self.kind, self.caller

        def remove() -> None:
            managed.remove(kind, manager(caller), name)

        await sync_to_async(remove)()
        return Response(status=204)


class Rotate(GatewayView):
    @extend_schema(
        operation_id="rotate_key",
        summary="Give a key a new value, which is told once",
        description="The old one stays good for `grace_seconds`, up to seven days; 0 unless given:"
        " it ends within two seconds. One from a rotation before ends. Without a body: no grace.",
        tags=TAGS,
        request={"application/json": _described(Rotation)},
        responses={200: {"type": "object"}, "4XX": schemas.PROBLEM},
    )
    async def post(self, request: Request, name: str) -> Response:
        given, caller = request.read(), self.caller
        body = parse_body(given) if given else {}

        def rotate() -> dict[str, Any]:
            return managed.rotate(manager(caller), name, body)

        return Response(await sync_to_async(rotate)())


class Audit(GatewayView):
    """Who changed what of the tenant, the latest first."""

    @extend_schema(
        operation_id="audit",
        summary="Who changed what, the latest first",
        tags=TAGS,
        parameters=CURSOR,
        responses={200: {"type": "object"}, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        given = parameters(request, "limit", "cursor")
        size = max(1, whole_number(given, "limit", PAGE, LONGEST_PAGE))
        before = whole_number(given, "cursor", MOST_ROWS, MOST_ROWS)
        mine = AuditEvent.objects.filter(tenant_id=self.caller.tenant_id)
        rows = mine.filter(pk__lt=before).order_by("-pk")
        found = [row async for row in rows[: size + 1]]
        more = len(found) > size
        data = [
            {
                "id": row.pk,
                "at": row.created_at.isoformat(),
                "actor": row.actor,
                "action": row.action,
                "object_type": row.object_type,
                "object_id": row.object_id,
                "object_name": row.object_name,
                "changes": row.changes,
            }
            for row in found[:size]
        ]
        return Response({"data": data, "next": str(found[size - 1].pk) if more else None})


def views_of(name: str) -> tuple[Any, Any]:
    """Return the two views of a kind, described by its shape."""
    kind = KINDS[name]
    said, noun = {"application/json": _described(kind.shape)}, kind.noun
    listed = {
        "get": _told(Listed.get, f"read_{name}", f"The tenant's {name}", parameters=CURSOR),
        "post": _told(Listed.post, f"create_{noun}", f"Make a {noun}", status=201, request=said),
    }
    one = {
        "get": _told(One.get, f"read_{noun}", f"One {noun}"),
        "patch": _told(
            One.patch, f"change_{noun}", f"Change the given fields of a {noun}", request=said
        ),
        "delete": _told(One.delete, f"remove_{noun}", f"Remove a {noun}", status=204),
    }
    return (
        type(f"Listed{name.title()}", (Listed,), {"kind": kind, **listed}),
        type(f"One{noun.title()}", (One,), {"kind": kind, **one}),
    )


def _told(
    handler: Callable[..., Awaitable[Response]],
    name: str,
    summary: str,
    *,
    status: int = 200,
    request: Mapping[str, object] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
) -> Callable[..., Awaitable[Response]]:
    """Return the handler with a description of its own."""

    async def described(view: ManagedView, request: Request, **named: str) -> Response:
        return await handler(view, request, **named)

    answer = None if status == 204 else {"type": "object"}  # noqa: PLR2004 - no content
    describe = extend_schema(
        operation_id=name,
        summary=summary,
        tags=TAGS,
        request=request,
        parameters=parameters,
        responses={status: answer, "4XX": schemas.PROBLEM},
    )
    found: Callable[..., Awaitable[Response]] = describe(described)
    return found
