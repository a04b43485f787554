"""Speak the Model Context Protocol over HTTP, without sessions: each request stands for itself.

The official package does the talking; it takes a second to import, so it is imported here alone and
this module on the first request.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import jsonschema_rs
import msgspec
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from llm_gateway.adapters import native
from llm_gateway.errors import GatewayError, InvalidRequestError, NotFoundError
from llm_gateway.mcp_server.tools import TOOLS, Asked, Tool, visible
from llm_gateway.service import process
from llm_gateway.version import VERSION
from tenants.ids import new_id
from tenants.types import Caller

if TYPE_CHECKING:
    from llm_gateway.service.inbound import Controls

# Under these names the ASGI scope says who asks and how; whoever let the request in put it there.
CALLER, CONTROLS = "mobius.caller", "mobius.controls"
INSTRUCTIONS = (
    "One door to many language models. `complete` asks one, `embed` makes vectors, `list_models`"
    " says which there are; each call counts against the budgets that `usage` shows."
)

Context = ServerRequestContext[Any, Any]  # its request is Starlette's
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

log = logging.getLogger(__name__)


class ToolServer:
    """The tools of one process; opened with its first request, it lives as long as the loop."""

    def __init__(self, most_bytes: int) -> None:
        server: Server[Any] = Server(
            "mobius",
            version=VERSION,
            title="Mobius",
            instructions=INSTRUCTIONS,
            on_list_tools=_list_tools,
            on_call_tool=_call_tool,
        )
        self._sessions = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=most_bytes
        )
        self._running: asyncio.Task[None] | None = None

    async def serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request that was let in."""
        if self._running is None:
            ready = asyncio.Event()
            self._running = asyncio.create_task(self._run(ready), name="tool server")
            await ready.wait()
        await self._sessions.handle_request(scope, receive, send)

    async def _run(self, ready: asyncio.Event) -> None:
        async with self._sessions.run():
            ready.set()
            await asyncio.Event().wait()


async def _list_tools(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    del params  # they are few: there is one page
    return types.ListToolsResult(tools=[_described(tool) for tool in visible(_caller(context))])


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.schema,
        annotations=types.ToolAnnotations(
            read_only_hint=tool.reads_only, destructive_hint=False, open_world_hint=True
        ),
    )


async def _call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Run a tool; what goes wrong is its result, so that the model that asked can read it."""
    request_id, caller = new_id(), _caller(context)
    controls: Controls = _scope(context)[CONTROLS]
    try:
        tool = _tool(params.name, caller)
        asked = Asked(
            runtime=await process.opened(),
            caller=caller,
            arguments=_checked(tool, params.arguments or {}),
            request_id=request_id,
            controls=controls,
        )
        result = await tool.run(asked)
    except GatewayError as error:
        return _failed(error, request_id)
    except Exception:
        log.exception("The tool %s failed, request %s", params.name, request_id)
        return _failed(GatewayError("Something went wrong on our side."), request_id)
    return _said(tool.text(result), result)


def _failed(error: GatewayError, request_id: UUID) -> types.CallToolResult:
    problem = native.render_error(error, request_id=str(request_id))
    return _said(msgspec.json.encode(problem).decode(), problem, failed=True)


def _tool(name: str, caller: Caller) -> Tool:
    tool = TOOLS.get(name)
    if tool is None or tool.scope not in caller.scopes:
        raise NotFoundError(f"There is no tool {name[:64]!r} for this key.")
    return tool


def _checked(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments that fit the tool's schema. Raises InvalidRequestError naming the place."""
    for error in jsonschema_rs.iter_errors(tool.schema, arguments):
        place = ".".join(map(str, error.instance_path)) or "arguments"
        raise InvalidRequestError(f"'{place}': {error.message}"[:500], param=place)
    return arguments


def _said(text: str, structured: dict[str, Any], *, failed: bool = False) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=structured,
        is_error=failed,
    )


def _caller(context: Context) -> Caller:
    caller: Caller = _scope(context)[CALLER]
    return caller


def _scope(context: Context) -> MutableMapping[str, Any]:
    assert context.request is not None  # noqa: S101 - there is no other way in than HTTP
    scope: MutableMapping[str, Any] = context.request.scope
    return scope
