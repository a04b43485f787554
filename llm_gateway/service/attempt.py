"""Make one upstream call: circuit, hold, send, read; ended exactly once, whatever happens.

`open` goes as far as the first token of a stream, or the end of a whole answer: until there,
another target can still take over.
"""

import math
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.adapters import ADAPTERS, CHAT_ADAPTERS
from llm_gateway.errors import (
    BudgetError,
    Certainty,
    CredentialError,
    DeadlineError,
    DroppedError,
    GatewayError,
    InvalidAnswerError,
    LedgerUnavailableError,
    NoTargetError,
    OverloadedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.headers import HOP_HEADER
from llm_gateway.providers.upstream import Upstream
from llm_gateway.resilience.breaker import Verdict
from llm_gateway.service import bounds, settling
from llm_gateway.service.answers import Speaking, Translation, translate_whole, translation
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.rates import rate_error
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import AttemptRecord, Call, ChatRequest, Facts, Outgoing, Target, Timeouts
from tenants.limits import Decision, Ticket
from tenants.money import types as money
from tenants.money.applicable import applicable
from tenants.secrets import SecretError

if TYPE_CHECKING:
    from tenants.money.claims import Kept

EVENT_STREAM = "text/event-stream"
# Others spend from the same budget meanwhile; and a shorter limit may be longer to write.
MOST_CLAMPS = 3


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
        self.clamped: int | None = None  # to how many tokens a budget shortened the answer
        self.keeping: Callable[[], Kept] | None = None  # what its entry brings along
        self.facts = Facts()
        self.head = b""
        self.tail = b""
        self._upstream: Upstream | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._translation: Translation | None = None
        self._verdict: Verdict | None = None
        self._rates: Decision | None = None
        self._room: int | None = None  # tokens with which the hold is used up
        self._frames = 0
        self._cut_short = self._ended = False

    # --- forth ------------------------------------------------------------------------------

    async def open(self, deadline: float, *, last: bool) -> None:
        """Call the target; `last`: no other one could take over.

        Raises CircuitOpen, BudgetError or what the call itself raises.
        """
        self._verdict = self.runtime.board.begin(self.target)
        if not self._verdict.allowed:
            self._ended = True
            raise CircuitOpen(self._verdict)
        await self._take_rates()
        self.outgoing = self._addressed(self._render())
        self.hold = await self._admit(deadline)
        limit = deadline if last else min(deadline, self._whole_until())
        try:
            await self._call(limit)
        except DeadlineError as error:
            if limit == deadline:
                raise
            raise UpstreamTimeoutError("The provider did not answer in time.") from error

    def _whole_until(self) -> float:
        """Return until when an answer that is not streamed is waited for."""
        whole = self.provider.timeouts.whole
        if whole is None or self.outgoing.stream:
            return math.inf
        return self.runtime.clock() + whole

    async def _call(self, deadline: float) -> None:
        self._upstream = upstream = await self._send(deadline)
        if upstream.status != 200:  # noqa: PLR2004
            body = await upstream.read()
            raise self.adapter.parse_error(upstream.status, upstream.headers, body)
        if upstream.headers.get("content-type", "").startswith(EVENT_STREAM):
            await self._open_stream(upstream)
        else:
            await self._read_whole(upstream)

    async def _take_rates(self) -> None:
        """Take the deployment's own rates, over all tenants. Raises RateLimitError."""
        rates, call = self.deployment.rates, self.call
        if rates is None:
            return
        tokens = bounds.estimate(call.size) + (call.max_output_tokens or 0) * call.choices
        name = f"{self.inbound.request_id}/{self.number}"
        self._rates = await self.runtime.limits.admit(0, name, (rates,), tokens)
        if not self._rates.allowed:
            raise rate_error(self._rates)

    def _render(self) -> Outgoing:
        """Return the request in the target's words. Raises UnexpressibleError."""
        call, deployment = self.call, self.deployment
        self.buckets = applicable(
            self.inbound.caller.budgets,
            model=deployment.name,
            asked=call.model,
            end_user=call.end_user or "",
            tags=self.inbound.controls.tags,
            run=self.inbound.controls.run or "",
        )
        self.hard = any(rule.hard and rule.limit_nano is not None for rule, _ in self.buckets)
        most = self.inbound.caller.max_output_tokens
        unbounded = call.max_output_tokens is None and call.operation == "chat"
        sent = self.clamped
        if sent is None:
            self.output_bound = bounds.output_bound(call, deployment, most)
            sent = self.output_bound if self.hard and unbounded else None
        if self.adapter is self.inbound.door:
            changes = Additions(deployment.upstream_name, sent)
            relayed: Outgoing = self.adapter.render_relay(call, changes, self.provider.quirks)
            return relayed
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
        answer = await self._ask(deadline)
        for _ in range(MOST_CLAMPS):
            if isinstance(answer, money.Hold):
                break
            self._clamp(answer)
            answer = await self._ask(deadline)
        if isinstance(answer, money.Refusal):
            raise _over(answer)
        if self.hard:
            self._room = bounds.output_room(answer)
        return answer

    def _clamp(self, refusal: money.Refusal) -> None:
        """Make the answer as short as the budget buys. Raises BudgetError where it may not be."""
        fewer = None
        if refusal.mode == "clamp" and self.call.operation == "chat" and self.price is not None:
            fewer = bounds.affordable(
                self.call,
                self.outgoing,
                self.price,
                under=self.output_bound,
                room_nano=refusal.room_nano,
            )
        if fewer is None:
            raise _over(refusal)
        self.output_bound = self.clamped = fewer
        self.outgoing = self._addressed(self._render())

    async def _ask(self, deadline: float) -> money.Hold | money.Refusal:
        price = self.runtime.price_now(self.deployment, self.inbound.caller.tenant_id)
        bound = bounds.bound(self.call, self.outgoing, price, output=self.output_bound)
        bounds.check_priced(bound, self.deployment, hard=self.hard)
        self.price = bound.price
        request = settling.hold_request(
            self.inbound,
            self.call,
            self.target,
            bound,
            number=self.number,
            buckets=self.buckets,
        )
        request = replace(request, deadline_s=max(0.0, deadline - self.runtime.clock()))
        try:
            return await self.runtime.ledger.admit(request)
        except money.LedgerUnavailableError:
            raise LedgerUnavailableError(
                "The ledger cannot be written now; nothing was spent.", retry_after_s=2
            ) from None
        except money.LedgerOverloadedError:
            raise OverloadedError(
                "Too many requests wait for the ledger.", retry_after_s=1
            ) from None

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
            if self._room is not None:
                self._check_room(self._translation, frames)
        elif self._translation.frames > frames:
            self._upstream.progress()
        return piece

    def _check_room(self, way: Translation, frames: int) -> None:
        """End an answer here that has used up its hold: it is longer than the limit we sent."""
        self._frames += way.frames - frames
        tokens = bounds.tokens_at_least(self.facts.output_bytes, self._frames)
        if self.facts.complete or self._room is None or tokens < self._room:
            return
        counted = bounds.counted(self.facts, self.outgoing)
        told = self.facts.usage or counted
        usage = replace(told, output=max(counted.output, tokens), estimated=True)
        way.cut_short(usage)
        self.facts.usage, self.facts.finish_reason = usage, "length"
        self.facts.complete = self._cut_short = True

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

    def abort(self) -> None:
        """Cut the upstream: whoever reads the answer is told that it broke."""
        if self._upstream is not None:
            self._upstream.abort()

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
        good = error is None and self.facts.complete and not self._cut_short
        if self._upstream is not None and not good:
            self._upstream.abort()
        # Before anything that waits: the ledger takes a settle even if we are cancelled now.
        if self.hold is not None:
            await self._settle(self.hold, error, left=left)
        if self._rates is not None:
            await self._give_back_rates(self._rates.ticket)
        if self._upstream is not None and good:
            await self._upstream.close()

    async def _give_back_rates(self, ticket: Ticket | None) -> None:
        if self.hold is None:
            await self.runtime.limits.refund(ticket)
            return
        used = self.bill.usage.input + self.bill.usage.output if self.bill else 0
        await self.runtime.limits.settle(ticket, used)

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
        ending = settling.ending(
            self.facts, error, price=self.price, outgoing=self.outgoing, left=left
        )
        self.outcome, self.bill = ending.outcome, ending.bill
        try:
            if ending.settlement is None:
                await ledger.mark_uncertain(hold, bounds.estimate(self.facts.output_bytes))
            else:
                kept = self.keeping() if self.keeping else None
                self.settled = await ledger.settle(hold, ending.settlement, kept)
        except money.LedgerUnavailableError:
            raise LedgerUnavailableError(
                "The ledger cannot be written now.", retry_after_s=2
            ) from None

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


def _over(refusal: money.Refusal) -> BudgetError:
    return BudgetError(refusal.message, detail=settling.refusal_detail(refusal))
