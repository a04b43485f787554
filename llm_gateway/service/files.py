"""Keep files for a tenant: one goes to one provider and key, which alone can use it afterwards.

The requests of a batch stand in a file: they are parsed, authorised and bounded here, and what is
sent is written anew from what was understood. Keeping costs nothing; the batch does.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.db import Error
from msgspec.structs import replace

from llm_gateway.adapters import openai_batches
from llm_gateway.adapters.openai_batches import MOST_LINES, Line, Upload
from llm_gateway.errors import (
    GatewayError,
    InvalidRequestError,
    LedgerUnavailableError,
)
from llm_gateway.guardrails.bodies import guarded
from llm_gateway.guardrails.window import Looker
from llm_gateway.routing.router import plan
from llm_gateway.service import batches, bounds
from llm_gateway.service.batching import in_words_of
from llm_gateway.service.body import parse_body
from llm_gateway.service.filed import Requests
from llm_gateway.service.guarding import lookers_at
from llm_gateway.service.headers import of_request
from llm_gateway.service.inbound import Answer, Inbound
from llm_gateway.service.keeper import BATCH, FILE, Owner, Page
from llm_gateway.service.measuring import in_thread
from llm_gateway.service.owned import away, call, chosen
from llm_gateway.service.planning import asking_for, budget_used, view_for, watches_budget
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Call, Deployment, Target
from tenants.money import types as money
from tenants.types import Caller

FOR_BATCHES = "batch"
# How many are listed, unless asked, and at most.
_LISTED = {FILE: (10_000, 10_000), BATCH: (20, 100)}
_WORDS = {FILE: {"after", "limit", "order", "purpose"}, BATCH: {"after", "limit"}}
_OK = 200


# --- a file comes ------------------------------------------------------------------------------


async def keep(runtime: Runtime, inbound: Inbound, upload: Upload) -> Answer:
    """Have a provider keep a file, and note which before its caller knows. Raises GatewayError."""
    about: dict[str, Any] = {}
    if upload.purpose == FOR_BATCHES:
        upload, owner, requests = await _of_requests(runtime, inbound, upload)
        about["requests"] = msgspec.to_builtins(requests)
    else:
        named = inbound.controls.provider
        owner = chosen(runtime, inbound.caller, batches.WAY, openai_batches.name, named)
    provider = runtime.snapshot.current.providers[owner.provider_id]
    boundary = f"mobius-{inbound.request_id.hex}"
    outgoing = openai_batches.render_upload(upload, boundary, provider.quirks)
    answer = await call(runtime, provider, owner, batches.WAY, ("POST", outgoing))
    if answer.status != _OK:
        raise openai_batches.parse_error(answer.status, answer.headers, answer.body)
    file_id, shown = openai_batches.parse_file(answer.body)
    noted = batches.filed(owner, file_id, shown, **about)
    try:
        await runtime.keeper.keep(inbound.caller.tenant_id, [(file_id, noted)])
    except Error:
        raise LedgerUnavailableError(
            f"The file {file_id} was taken, and nobody could note who keeps it.", retry_after_s=2
        ) from None
    headers = of_request(inbound.request_id)
    headers.append((b"x-mobius-provider", provider.name.encode("ascii", "replace")))
    return Answer(headers=headers, body=answer.body)


async def _of_requests(
    runtime: Runtime, inbound: Inbound, upload: Upload
) -> tuple[Upload, Owner, Requests]:
    """Return a batch's input as it is sent, who is to keep it, and what it asks."""
    lookers = lookers_at(inbound.caller, "request")
    lines, asked = await in_thread(lambda: _lines(upload.content, lookers))
    target = await _target(runtime, inbound, asked)
    deployment = target.deployment
    # An answer without a limit has that of its model, as where a hard budget binds.
    unlimited = replace(asked, operation="chat", max_output_tokens=None)
    most = bounds.output_bound(unlimited, deployment, inbound.caller.max_output_tokens)
    content, whole = await in_thread(lambda: _written(lines, deployment, most))
    requests = Requests(url=lines[0].url, deployment_id=deployment.id, call=whole)
    owner = Owner(
        parent_id="",
        provider_id=deployment.provider.id,
        key_id=target.key.id if target.key else None,
        model=deployment.name,
        tokens=len(content),
    )
    return replace(upload, content=content), owner, requests


def _lines(content: bytes, lookers: Sequence[Looker]) -> tuple[list[Line], Call]:
    """Return the requests of a file, each parsed as strictly as a body, and all as one call.

    `lookers` take out what may not be asked.
    """
    lines: list[Line] = []
    for number, raw in enumerate(content.splitlines(), 1):
        if not raw.strip():
            continue
        if len(lines) == MOST_LINES:
            raise InvalidRequestError(f"A batch has at most {MOST_LINES:,} lines.", param="file")
        try:
            body = guarded(parse_body(raw), lookers)
        except InvalidRequestError as error:
            raise openai_batches.of_line(number, error) from None
        lines.append(openai_batches.parse_line(number, body))
    return lines, openai_batches.together(lines, size=len(content))


def _written(lines: list[Line], deployment: Deployment, most: int) -> tuple[bytes, Call]:
    """Return a file as it is sent to a deployment, and what that asks."""
    bounded = [openai_batches.bounded(line, most) for line in lines]
    name, quirks = deployment.upstream_name, deployment.provider.quirks
    content = b"".join(openai_batches.render_line(line, name, quirks) for line in bounded)
    return content, openai_batches.together(bounded, size=len(content))


async def _target(runtime: Runtime, inbound: Inbound, asked: Call) -> Target:
    """Return where these requests would go first. Raises what keeps them from going anywhere."""
    configuration = runtime.snapshot.current.configuration
    used = 0.0
    if watches_budget(configuration, asked.model):
        used = await budget_used(runtime, inbound, asked)
    ask = asking_for(inbound, asked, {}, used)
    view = view_for(runtime, inbound, asked, runtime.turn(asked.model))
    return in_words_of(asked, plan(ask, configuration, view, runtime.rng)).attempts[0]


# --- what a tenant has -------------------------------------------------------------------------


async def listed(
    runtime: Runtime, caller: Caller, kind: str, words: Mapping[str, str]
) -> dict[str, Any]:
    """Return a page of a tenant's files or batches, as OpenAI lists them. Raises GatewayError."""
    page = _page(kind, words)
    try:
        found = await runtime.keeper.listed(caller.tenant_id, replace(page, limit=page.limit + 1))
    except Error:
        raise away() from None
    rows = found[: page.limit]
    shown = await asyncio.gather(*(_shown(runtime, caller, *row) for row in rows))
    return {
        "object": "list",
        "data": shown,
        "first_id": rows[0][0] if rows else None,
        "last_id": rows[-1][0] if rows else None,
        "has_more": len(found) > len(rows),
    }


async def _shown(
    runtime: Runtime, caller: Caller, object_id: str, owner: Owner
) -> Mapping[str, Any] | None:
    """Return an object as it stands now; as it was seen last where nobody can say."""
    last: Mapping[str, Any] | None = (owner.about or {}).get("object")
    if owner.owed_by is None:
        return last
    try:
        return await batches.charge(runtime, caller.tenant_id, object_id, owner) or last
    except (Error, GatewayError, money.LedgerUnavailableError):
        return last


def _page(kind: str, words: Mapping[str, str]) -> Page:
    for name in words:
        if name not in _WORDS[kind]:
            raise InvalidRequestError(f"{name!r} cannot be asked for here.", param=name)
    usual, most = _LISTED[kind]
    limit, order = words.get("limit", str(usual)), words.get("order", "desc")
    if not (limit.isascii() and limit.isdigit()) or not 1 <= int(limit[:9]) <= most:
        raise InvalidRequestError(f"'limit' must be 1 to {most}.", param="limit")
    if order not in {"asc", "desc"}:
        raise InvalidRequestError("'order' must be asc or desc.", param="order")
    return Page(
        kind=kind,
        limit=int(limit),
        after=words.get("after"),
        purpose=words.get("purpose"),
        oldest_first=order == "asc",
    )
