"""Begin a batch whose requests stand in a file that was kept before: held and charged by that file.

The file was parsed, authorised and bounded when it came, and cannot have changed since.
"""

from typing import Any

import msgspec
from msgspec.structs import replace
from typing_extensions import override

from llm_gateway.errors import InvalidRequestError
from llm_gateway.routing.router import Plan
from llm_gateway.service.attempt import Attempt
from llm_gateway.service.batching import BatchExchange
from llm_gateway.service.keeper import BATCH, FILE, Owner
from llm_gateway.service.owned import is_at, owner_of, unknown
from llm_gateway.types import Call
from tenants.limits import Decision

FIELD = "input_file_id"


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch's input asks: all its lines as one call, of one deployment.

    It stands beside the file that holds them (`KeptObject.about`).
    """

    url: str
    deployment_id: int
    call: Call


class FiledBatchExchange(BatchExchange):
    """A request that begins a batch of the lines of a file."""

    _file: Owner
    _requests: Requests

    @override
    async def _take_rates(self, call: Call) -> Decision:
        await self._find(call)
        assert self.call is not None  # noqa: S101 - just found
        return await super()._take_rates(self.call)

    async def _find(self, call: Call) -> None:
        """Find what the file asks. Raises NotFoundError or InvalidRequestError."""
        (file_id,) = call.continues
        self._file = owner = await owner_of(self.runtime, self.inbound.caller, file_id, param=FIELD)
        if owner.kind != FILE:
            raise unknown(file_id, param=FIELD)
        asked = (owner.about or {}).get("requests")
        if asked is None:
            raise InvalidRequestError(
                "This file was not uploaded with the purpose 'batch'.", param=FIELD
            )
        self._requests = found = msgspec.convert(asked, Requests)
        if found.url != call.body["endpoint"]:
            raise InvalidRequestError(f"The lines of this file ask {found.url}.", param="endpoint")
        self.call = replace(found.call, body=call.body, kept_tokens=owner.tokens or 0)

    @override
    def _plan(self, call: Call) -> Plan:
        """Return the plan with the deployment alone that the file was written for."""
        found = super()._plan(call)
        kept = tuple(
            target
            for target in found.attempts
            if target.deployment.id == self._requests.deployment_id and is_at(target, self._file)
        )
        if kept:
            return Plan(kept, found.dropped)
        raise InvalidRequestError(
            f"Where {call.model!r} was to be asked by this file, it cannot be asked any more:"
            " upload the file again.",
            param=FIELD,
        )

    @override
    def _owner(self, attempt: Attempt) -> Owner:
        shown: dict[str, Any] = msgspec.json.decode(attempt.head + attempt.tail)
        return replace(super()._owner(attempt), kind=BATCH, about={"object": shown})
