"""Make one upstream call: circuit, hold, send, read; ended exactly once, whatever happens.

`open` goes as far as the first token of a stream, or the end of a whole answer: until there,
another target can still take over.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from llm_gateway.adapters import ADAPTERS, CHAT_ADAPTERS
from llm_gateway.errors import (
    BudgetError,
    Certainty,
    CredentialError,
    DroppedError,
    GatewayError,
    InvalidAnswerError,
    LedgerUnavailableError,
    NoTargetError,
    OverloadedError,
    UpstreamError,
)
from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.headers import HOP_HEADER
from llm_gateway.providers.upstream import Upstream
from llm_gateway.resilience.breaker import Verdict
from llm_gateway.service import bounds
from llm_gateway.service.answers import Speaking, Translation, translate_whole, translation
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import AttemptRecord, Call, ChatRequest, Facts, Outgoing, Target, Timeouts
from tenants.money import types as money
from tenants.money.applicable import applicable
from tenants.secrets import SecretError
from tenants.types import usd

EVENT_STREAM = "text/event-stream"


class Additions(Struct, frozen=True):
    """What is added to a relayed body (`adapters.base.Changes`)."""

    upstream_name: str
    max_output_tokens: int | None


class CircuitOpen(Exception):  # noqa: N818 - not a failure: the target is passed over
    """The deployment's circuit refuses calls."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class Attempt:
    """One call to one target on behalf of one client request."""

    def __init__(
        self, runtime: Runtime, inbound: Inbound, call: Call, target: Target, number: int
    ) -> None:
        self.runtime, self.inbound, self.call = runtime, inbound, call
        self.target, self.number = target, number
        self.deployment, self.provider = target.deployment, target.deployment.provider
        self.adapter = ADAPTERS[self.provider.adapters[call.operation]]
        self.started = runtime.clock()
        self.first_token: float | None = None
        self.hold: money.Hold | None = None
        self.settled: money.Settled | None = None
        self.bill: bounds.Bill | None = None
        self.error: GatewayError | None = None
        self.outcome: money.Outcome | None = None
        self.facts = Facts()
        self.head = b""
        self.tail = b""
        self._upstream: Upstream | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._translation: Translation | None = None
        self._verdict: Verdict | None = None
        self._ended = False

    # --- forth ------------------------------------------------------------------------------

    async def open(self, deadline: float) -> None:
        """Call the target. Raises CircuitOpen, BudgetError or what the call itself raises."""
        self._verdict = self.runtime.board.begin(self.target)
        if not self._verdict.allowed:
            self._ended = True
            raise CircuitOpen(self._verdict)
        self.outgoing = self._addressed(self._render())
        self.hold = await self._admit(deadline)
        self._upstream = upstream = await self._send(deadline)
        if upstream.status != 200:  # noqa: PLR2004
            body = await upstream.read()
            raise self.adapter.parse_error(upstream.status, upstream.headers, body)
        if upstream.headers.get("content-type", "").startswith(EVENT_STREAM):
            await self._open_stream(upstream)
        else:
            await self._read_whole(upstream)

    def _render(self) -> Outgoing:
        """Return the request in the target's words. Raises UnexpressibleError."""
        call, deployment = self.call, self.deployment
        self.buckets = applicable(
            self.inbound.caller.budgets,
            model=deployment.name,
            end_user=call.end_user or "",
            tags=self.inbound.controls.tags,
            run=self.inbound.controls.run or "",
        )
        self.hard = any(rule.hard and rule.limit_nano is not None for rule, _ in self.buckets)
        most = self.inbound.caller.max_output_tokens
        self.output_bound = bounds.output_bound(call, deployment, most)
        unbounded = call.max_output_tokens is None and call.operation == "chat"
        sent = self.output_bound if self.hard and unbounded else None
        if self.adapter is self.inbound.door:
            changes = Additions(deployment.upstream_name, sent)
            return self.adapter.render_relay(call, changes, self.provider.quirks)
        asked: ChatRequest = self.inbound.door.parse_request(call.body)
        # Asked to stream also for callers who do not: first-token and idle limits work (faults §3).
        request = replace(asked, model=deployment.upstream_name, stream=True)
        if sent is not None:
            request = replace(request, max_tokens=sent)
        outgoing: Outgoing = CHAT_ADAPTERS[self.adapter.name].render_request(
            request, self.provider.quirks, default_max_tokens=self.output_bound
        )
        return outgoing

    def _addressed(self, outgoing: Outgoing) -> Outgoing:
        """Add what the caller's own headers ask of the provider, and how far we have come."""
        headers = self.inbound.passed_on if self.adapter is self.inbound.door else ()
        if hops := self.inbound.controls.hops:
            headers = (*headers, (HOP_HEADER, str(hops + 1)))
        if not headers:
            return outgoing
        return replace(outgoing, headers=(*outgoing.headers, *headers))

    async def _admit(self, deadline: float) -> money.Hold:
        """Take the hold. Raises BudgetError, ModelNotPricedError or a RefusalError."""
        caller, controls, deployment = self.inbound.caller, self.inbound.controls, self.deployment
        price = self.runtime.price_now(deployment)
        bound = bounds.bound(self.call, self.outgoing, price, output=self.output_bound)
        bounds.check_priced(bound, deployment, hard=self.hard)
        self.price = bound.price
        request = money.HoldRequest(
            request_id=self.inbound.request_id,
            attempt_no=self.number,
            tenant_id=caller.tenant_id,
            project_id=caller.project_id,
            api_key_id=caller.key_id,
            deployment_id=deployment.id,
            model=deployment.name,
            price_version_id=bound.price.id if bound.price else None,
            amount_nano=bound.amount_nano,
            buckets=self.buckets,
            input_estimate=bounds.estimate(len(self.outgoing.body)),
            input_nano=bound.input_nano,
            output_nano_per_million=(bound.price.output or 0) if bound.price else 0,
            deadline_s=max(0.0, deadline - self.runtime.clock()),
            end_user=self.call.end_user or "",
            tags=dict(controls.tags),
            zero_price=bound.free,
            unpriced=bound.price is None,
        )
        try:
            answer = await self.runtime.ledger.admit(request)
        except money.LedgerUnavailableError:
            raise LedgerUnavailableError(
                "The ledger cannot be written now; nothing was spent.", retry_after_s=2
            ) from None
        except money.LedgerOverloadedError:
            raise OverloadedError(
                "Too many requests wait for the ledger.", retry_after_s=1
            ) from None
        if isinstance(answer, money.Refusal):
            raise BudgetError(answer.message, detail=_refusal_detail(answer))
        return answer

    async def _send(self, deadline: float) -> Upstream:
        assert self.hold is not None  # noqa: S101 - `open` takes it first
        adapter_name = self.provider.adapters[self.call.operation]
        try:
            endpoint = self.runtime.endpoint(self.provider, adapter_name)
        except AddressError as error:
            raise NoTargetError(f"Provider {self.provider.name}: {error}") from None
        return await self.runtime.egress.send(
            self.hold, endpoint, self.outgoing, self._credential(), self._timeouts(), deadline
        )

    def _credential(self) -> Credential | None:
        if self.target.key is None:
            return None
        try:
            return self.runtime.keyring.credential(self.target.key.id)
        except (SecretError, KeyError):
            error = CredentialError(f"The key of provider {self.provider.name} cannot be opened.")
            error.certainty = Certainty.NOT_SENT
            raise error from None

    def _timeouts(self) -> Timeouts:
        return self.provider.timeouts

    # --- back -------------------------------------------------------------------------------

    async def _open_stream(self, upstream: Upstream) -> None:
        """Read until the first token may go to the caller, or to the end for a whole answer."""
        self._translation = way = translation(self._speaking())
        self.facts = way.facts
        self._chunks = upstream.chunks().__aiter__()
        pieces = []
        async for chunk in self._chunks:
            pieces.append(self._feed(chunk))
            if self.facts.complete or (self.call.stream and self.facts.content):
                break
        else:
            pieces.append(self._last())
        self.head, self.tail = b"".join(pieces), way.tail

    async def _read_whole(self, upstream: Upstream) -> None:
        body = await upstream.read()
        upstream.content_seen()
        self._token_seen()
        self.head, self.tail, self.facts = translate_whole(self._speaking(), body)
        if self.facts.error is not None:
            raise self.facts.error
        self.facts.complete = True

    async def rest(self) -> AsyncIterator[bytes]:
        """Yield what follows `head`; when it ends, only `tail` is left. Raises UpstreamError."""
        if self._chunks is None or self._translation is None or self._complete():
            return
        async for chunk in self._chunks:
            piece = self._feed(chunk)
            if piece:
                yield piece
            if self._complete():
                break
        else:
            yield self._last()
        self.tail = self._translation.tail

    def _feed(self, chunk: bytes) -> bytes:
        assert self._translation is not None  # noqa: S101 - set before the first chunk
        assert self._upstream is not None  # noqa: S101
        frames, said = self._translation.frames, self.facts.output_bytes
        piece = self._translation.feed(chunk)
        if self.facts.error is not None:
            raise self.facts.error
        # Bytes alone are no progress: only complete events, and content above all (faults.md §3).
        if self.facts.output_bytes > said:
            self._token_seen()
            self._upstream.content_seen()
        elif self._translation.frames > frames:
            self._upstream.progress()
        return piece

    def _last(self) -> bytes:
        """Take what stands before the end of the stream; some leave out the last blank line."""
        piece = self._feed(b"\n\n")
        if not self._complete():
            raise self._cut()
        return piece

    def _complete(self) -> bool:
        return self.facts.complete

    def _cut(self) -> UpstreamError:
        if not self.facts.content and not self.facts.output_bytes and not self.facts.id:
            return InvalidAnswerError("The provider sent an empty stream.")
        return DroppedError("The provider's stream ended before its end.")

    def _token_seen(self) -> None:
        if self.first_token is None:
            self.first_token = self.runtime.clock()

    def _speaking(self) -> Speaking:
        return Speaking(
            self.inbound.door,
            self.adapter,
            self.call,
            self.deployment.name,
            str(self.inbound.request_id),
            int(self.runtime.wall_clock()),
        )

    # --- the end ------------------------------------------------------------------------------

    async def end(self, error: GatewayError | None = None, *, left: bool = False) -> None:
        """Close the call, tell the circuit, settle the hold: once, the second call is idle.

        `left`: the caller went away. Raises LedgerUnavailableError when the entry cannot be kept.
        """
        if self._ended:
            return
        self._ended = True
        self.error = error
        self.duration = self.runtime.clock() - self.started
        self._tell_board(error, left=left and not self.facts.complete)
        good = error is None and self.facts.complete
        if self._upstream is not None and not good:
            self._upstream.abort()
        # Before anything that waits: the ledger takes a settle even if we are cancelled now.
        if self.hold is not None:
            await self._settle(self.hold, error, left=left)
        if self._upstream is not None and good:
            await self._upstream.close()

    def _tell_board(self, error: GatewayError | None, *, left: bool) -> None:
        if self._verdict is not None and self._verdict.allowed:
            self.runtime.board.end(
                self.target,
                self._verdict,
                error,
                first_token_s=None if self.first_token is None else self.first_token - self.started,
                neutral=left,
            )

    async def _settle(self, hold: money.Hold, error: GatewayError | None, *, left: bool) -> None:
        ledger = self.runtime.ledger
        try:
            if self._may_be_billed(error) and not self._reported():
                self.outcome = "uncertain"
                await ledger.mark_uncertain(hold, self.facts.output_bytes // bounds.BYTES_PER_TOKEN)
                return
            settlement = self._settlement(error, left=left)
            self.outcome = settlement.outcome
            self.settled = await ledger.settle(hold, settlement)
        except money.LedgerUnavailableError:
            raise LedgerUnavailableError(
                "The ledger cannot be written now.", retry_after_s=2
            ) from None

    def _reported(self) -> bool:
        """Say whether the provider told the whole usage, and not only how it began."""
        usage = self.facts.usage
        return usage is not None and not usage.estimated

    def _may_be_billed(self, error: GatewayError | None) -> bool:
        """Say whether nobody can tell if the provider did, and bills, the work (faults.md §1)."""
        if error is None or self.facts.error is not None:
            return False
        return isinstance(error, UpstreamError) and error.certainty is Certainty.AMBIGUOUS

    def _settlement(self, error: GatewayError | None, *, left: bool) -> money.Settlement:
        if error is not None and not self._reported():
            return money.Settlement(outcome="failed", amount_nano=0)
        self.bill = bill = bounds.bill(self.facts, self.price, self.outgoing)
        outcome: money.Outcome = "settled" if error is None else "failed"
        return money.Settlement(
            outcome="cancelled" if left and error is None else outcome,
            amount_nano=bill.amount_nano,
            usage=asdict(bill.usage),
            lines=msgspec.to_builtins(bill.lines),
            estimated=bill.usage.estimated,
        )

    @property
    def status(self) -> int | None:
        """What the provider said: the error that an answer names, else the answer's own status."""
        named: int | None = getattr(self.error, "upstream_status", None)
        if named is None and self._upstream is not None:
            return self._upstream.status
        return named

    def record(self) -> AttemptRecord:
        """Return what the decision record says of this attempt."""
        origin = self.inbound.started
        return AttemptRecord(
            number=self.number,
            provider=self.provider.name,
            model=self.deployment.name,
            deployment_id=self.deployment.id,
            key_name=self.target.key.name if self.target.key else "",
            status=self.status,
            category=self.error.category if self.error else "",
            outcome=self.outcome or "",
            reason=self.error.message if self.error else "",
            started_ms=(self.started - origin) * 1000,
            first_token_ms=None if self.first_token is None else (self.first_token - origin) * 1000,
            duration_ms=self.duration * 1000,
            cost_nano=self.bill.amount_nano if self.bill else 0,
        )


def _refusal_detail(refusal: money.Refusal) -> dict[str, Any]:
    return {
        "budget": refusal.budget,
        "scope": refusal.scope,
        "period": refusal.period,
        "limit": usd(refusal.limit_nano),
        "used": usd(refusal.used_nano),
        "held": usd(refusal.held_nano),
        "renews_at": refusal.renews_at.isoformat() if refusal.renews_at else None,
    }
