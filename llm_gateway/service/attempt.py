"""Make one upstream call: circuit, hold, send, read; ended exactly once, whatever happens.

`open` goes as far as the first token of a stream, or the end of a whole answer: until there,
another target can still take over.
"""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.adapters import CHAT_UPSTREAMS, EMBEDDINGS_UPSTREAMS, UPSTREAMS
from llm_gateway.adapters.crossing import cross
from llm_gateway.adapters.framing import Framing, framer_for
from llm_gateway.adapters.openai_chat.relay import DONE_FRAME
from llm_gateway.adapters.refused import refused
from llm_gateway.errors import (
    BudgetError,
    Certainty,
    ContentPolicyError,
    CredentialError,
    DeadlineError,
    DroppedError,
    GatewayError,
    InvalidAnswerError,
    LedgerUnavailableError,
    NoTargetError,
    OverloadedError,
    Rejection,
    UpstreamError,
    UpstreamTimeoutError,
)
from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.headers import HOP_HEADER
from llm_gateway.providers.upstream import (
    LONGEST_BODY,
    LONGEST_CHAT,
    LONGEST_REFUSAL,
    Upstream,
)
from llm_gateway.resilience.breaker import Verdict
from llm_gateway.routing.ways import way_of
from llm_gateway.service import bounds, settling
from llm_gateway.service.answers import Speaking, Translation, read_whole, translation
from llm_gateway.service.guarding import answer_guard
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.rates import rate_error
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import (
    AttemptRecord,
    Call,
    ChatRequest,
    EmbeddingsRequest,
    Facts,
    Outgoing,
    Target,
    Timeouts,
    Usage,
)
from tenants.limits import Decision, Ticket
from tenants.money import types as money
from tenants.money.alarms import Alarm, alarms_of
from tenants.money.applicable import applicable
from tenants.secrets import SecretError

if TYPE_CHECKING:
    from llm_gateway.guardrails.window import Looker
    from tenants.money.claims import Kept

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

    lookers: "Sequence[Looker]" = ()  # at what is answered

    def __init__(
        self, runtime: Runtime, inbound: Inbound, call: Call, target: Target, number: int
    ) -> None:
        self.runtime, self.inbound, self.call = runtime, inbound, call
        self.target, self.number = target, number
        self.deployment, self.provider = target.deployment, target.deployment.provider
        way = way_of(call.operation, call.ways, self.deployment)
        assert way is not None  # noqa: S101 - nobody plans a target that has none
        self.protocol = self.provider.adapters[way]
        self.adapter = UPSTREAMS[self.protocol]
        self.timeouts: Timeouts = self.deployment.timeouts  # shorter ones for some requests
        self.started = runtime.clock()
        self.first_token: float | None = None
        self.hold: money.Hold | None = None
        self.settled: money.Settled | None = None
        self.bill: bounds.Bill | None = None
        self.error: GatewayError | None = None
        self.outcome: money.Outcome | None = None
        self.alarms: tuple[Alarm, ...] = ()
        self.admit_s = self.settle_s = 0.0  # how long the ledger took
        self.clamped: int | None = None  # to how many tokens a budget shortened the answer
        self.keeping: Callable[[], Kept] | None = None  # what its entry brings along
        self.elsewhere: frozenset[Rejection] = frozenset()  # other targets may take these
        self.facts = Facts()
        self.head = self.tail = b""
        self._upstream: Upstream | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._translation: Translation | None = None
        self._verdict: Verdict | None = None
        self.rates: Decision | None = None  # the deployment's own, over all tenants
        self._room: int | None = None  # tokens with which the hold is used up
        self._closing = b""  # what completes a last frame without its end
        self._cut_short = self._ended = False

    # --- forth ------------------------------------------------------------------------------

    async def open(self, deadline: float, *, last: bool) -> None:
        """Call the target; `last`: no other one could take over.

        Raises CircuitOpen, BudgetError or what the call itself raises.
        """
        self._verdict = self.runtime.board.begin(self.target)
        if self._verdict.probe:
            self._verdict = await self.runtime.board.claim(self.target, self._verdict)
        if not self._verdict.allowed:
            self._ended = True
            raise CircuitOpen(self._verdict)
        self.runtime.egress.check_room(self.provider.id, self.inbound.caller.tenant_id)
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
        whole = self.timeouts.whole
        if whole is None or self.outgoing.stream:
            return math.inf
        return self.runtime.clock() + whole

    async def _call(self, deadline: float) -> None:
        self._upstream = upstream = await self._send(deadline)
        if upstream.status != 200:  # noqa: PLR2004
            body = await upstream.read(LONGEST_REFUSAL)
            raise self.adapter.parse_error(upstream.status, upstream.headers, body)
        framer = framer_for(upstream.headers.get("content-type", ""))
        if framer is not None:
            await self._open_stream(upstream, framer)
        else:
            await self._read_whole(upstream)

    async def _take_rates(self) -> None:
        """Take the deployment's own rates, over all tenants. Raises RateLimitError."""
        rates, call = self.deployment.rates, self.call
        if rates is None:
            return
        tokens = bounds.estimate(call.size) + (call.max_output_tokens or 0) * call.choices
        name = f"{self.inbound.request_id}/{self.number}"
        self.rates = await self.runtime.limits.admit(0, name, (rates,), tokens)
        if not self.rates.allowed:
            raise rate_error(self.rates)

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
        door, same = self.inbound.door, self.adapter is self.inbound.door
        if not same:
            return self._crossing(door.parse_request(call.body), sent)
        changes = Additions(deployment.upstream_name, sent)
        relayed: Outgoing = door.render_relay(call, changes, self.provider.quirks)
        return relayed

    def _crossing(self, asked: ChatRequest | EmbeddingsRequest, limit: int | None) -> Outgoing:
        """Return a request of another dialect in the target's words."""
        deployment, quirks = self.deployment, self.provider.quirks
        if isinstance(asked, EmbeddingsRequest):
            asked = replace(asked, model=deployment.upstream_name)
            return EMBEDDINGS_UPSTREAMS[self.adapter.name].render_request(asked, quirks)
        # Asked to stream also for callers who do not: first-token and idle limits work (faults §3).
        asked = replace(
            asked,
            model=deployment.upstream_name,
            stream=True,
            window=deployment.context_window,
            reasons="reasoning" in (deployment.capabilities or ()),
            max_tokens=asked.max_tokens if limit is None else limit,
        )
        upstream = CHAT_UPSTREAMS[self.adapter.name]
        return cross(
            self.inbound.door, upstream, asked, quirks, default_max_tokens=self.output_bound
        )

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
                self.asked, under=self.output_bound, room_nano=refusal.room_nano
            )
        if fewer is None:
            raise _over(refusal)
        self.output_bound = self.clamped = fewer
        self.outgoing = self._addressed(self._render())

    @property
    def asked(self) -> bounds.Asked:
        scale = self.runtime.scales.of(self.deployment)
        return bounds.Asked(self.call, self.outgoing, self.price, self.deployment, scale)

    async def _ask(self, deadline: float) -> money.Hold | money.Refusal:
        self.price = self.runtime.price_now(self.deployment, self.inbound.caller.tenant_id)
        bound = bounds.bound(self.asked, output=self.output_bound)
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
        began = self.runtime.clock()
        request = replace(request, deadline_s=max(0.0, deadline - began))
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
        self.admit_s = self.runtime.clock() - began
        return answer

    async def _send(self, deadline: float) -> Upstream:
        assert self.hold is not None  # noqa: S101 - `open` takes it first
        try:
            endpoint = self.runtime.endpoint(self.provider, self.protocol)
        except AddressError as error:
            raise NoTargetError(f"Provider {self.provider.name}: {error}") from None
        return await self.runtime.egress.send(
            self.hold, endpoint, self.outgoing, self._credential(), self.timeouts, deadline
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

    # --- back -------------------------------------------------------------------------------

    async def _open_stream(self, upstream: Upstream, framer: Framing) -> None:
        """Read until the first token may go to the caller, or to the end for a whole answer."""
        self._translation = way = translation(self._speaking(), framer)
        self._closing = framer.closing
        self.facts = way.facts
        self._chunks = upstream.chunks().__aiter__()
        pieces, size = [], 0
        async for chunk in self._chunks:
            size += len(chunk)
            if size > LONGEST_BODY:
                raise InvalidAnswerError("The provider's answer is too long.")
            pieces.append(self._feed(chunk))
            self._check_told()
            if self.facts.complete or (self.call.stream and self.facts.content):
                break
        else:
            pieces.append(self._last())
        self._check_refused()
        self.head, self.tail = b"".join(pieces), way.tail

    async def _read_whole(self, upstream: Upstream) -> None:
        chats = self.call.operation == "chat"
        body = await upstream.read(LONGEST_CHAT if chats else LONGEST_BODY)
        upstream.content_seen()
        write, self.facts = read_whole(self._speaking(), body)
        if self.facts.error is not None:
            raise self.facts.error
        self._token_seen()
        self.facts.complete = True
        self._check_refused()
        self.head, self.tail = write()

    async def rest(self) -> AsyncIterator[bytes]:
        """Yield what follows `head`; when it ends, only `tail` is left. Raises UpstreamError."""
        if self._chunks is None or self._translation is None or self._complete():
            return
        async for chunk in self._chunks:
            piece = self._feed(chunk)
            if piece:
                yield piece
            self._check_told()
            if self._complete():
                break
        else:
            if last := self._last():
                yield last
        self.tail = self._translation.tail

    def _feed(self, chunk: bytes) -> bytes:
        assert self._translation is not None  # noqa: S101 - set before the first chunk
        assert self._upstream is not None  # noqa: S101
        frames, said = self._translation.frames, self.facts.output_bytes
        piece = self._translation.feed(chunk)
        # Bytes alone are no progress: only complete events, and content above all (faults.md §3).
        if self.facts.output_bytes > said:
            self._token_seen()
            self._upstream.content_seen()
            if self._room is not None:
                self._check_room(self._translation)
        elif self._translation.frames > frames:
            self._upstream.progress()
        return piece

    def _check_told(self) -> None:
        """Raise the error that the provider told; what it said before has been passed on."""
        if self.facts.error is not None:
            raise self.facts.error

    def _check_refused(self) -> None:
        """Raise where the model would not answer and another one may: nobody has heard it yet."""
        if "content_policy" in self.elsewhere and refused(self.facts):
            raise ContentPolicyError(
                "The model refused to answer.", code="content_policy_violation"
            )

    def _check_room(self, way: Translation) -> None:
        """End an answer here that has used up its hold: it is longer than the limit we sent."""
        tokens = bounds.tokens_at_least(self.facts.output_bytes, way.pieces)
        if self.facts.complete or self._room is None or tokens < self._room:
            return
        counted = bounds.counted(self.facts, self.asked)
        told = self.facts.usage or counted
        usage = replace(told, output=max(counted.output, tokens), estimated=True)
        way.cut_short(usage)
        self.facts.usage, self.facts.finish_reason = usage, "length"
        self.facts.complete = self._cut_short = True

    def _last(self) -> bytes:
        """Take what stands before the end of the stream; some leave out the last blank line."""
        piece = self._feed(self._closing)
        self._check_told()
        if self._leaves_out_end():
            piece += self._feed(DONE_FRAME)
        if self._translation is not None and not self._complete():
            piece += self._translation.ended()
        if not self._complete():
            raise self._cut()
        return piece

    def _leaves_out_end(self) -> bool:
        """Say whether a server that sends no terminal event has said why its answer is over."""
        told = self.facts.finish_reason is not None and self.call.choices == 1
        return told and not self._complete() and not self.provider.quirks.done_marker

    def _complete(self) -> bool:
        return self.facts.complete

    def _cut(self) -> UpstreamError:
        if not self.facts.content and not self.facts.output_bytes and not self.facts.id:
            return InvalidAnswerError("The provider sent an empty stream.")
        return DroppedError("The provider's stream ended before its end.")

    def _token_seen(self) -> None:
        if self.first_token is None:
            self.first_token = self.runtime.clock()
            if self._verdict is not None and self._verdict.probe:
                self.runtime.board.answered(self.target, self._verdict)

    def _speaking(self) -> Speaking:
        call = self.call
        if self.provider.quirks.usage_unasked and self.adapter is self.inbound.door:
            call = replace(call, wants_usage=True)
        guard = answer_guard(self.inbound)
        self.lookers = guard.lookers if guard is not None else ()
        return Speaking(
            self.inbound.door,
            self.adapter,
            call,
            self.deployment.name,
            str(self.inbound.request_id),
            int(self.runtime.wall_clock()),
            guard,
        )

    @property
    def running(self) -> bool:
        return not self._ended

    @property
    def whole(self) -> bool:
        """Say whether the answer was told to its own end."""
        return self.error is None and self.facts.complete and not self._cut_short

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
        good = self.whole
        if self._upstream is not None and not good:
            self._upstream.abort()
        # Before anything that waits: the ledger takes a settle even if we are cancelled now.
        if self.hold is not None:
            await self._settle(self.hold, error, left=left)
        if self.rates is not None:
            await self._give_back_rates(self.rates.ticket)
        if self._upstream is not None and good:
            self._add(await self._upstream.close())

    def _add(self, rest: bytes) -> None:
        """Pass on what stood behind the answer's last word, wherever the bytes were cut."""
        if rest and self._translation is not None:
            with suppress(InvalidAnswerError):
                self._translation.feed(rest)
            self.tail = self._translation.tail

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
                # Who waits for less than the deployment is given says nothing about it.
                neutral=left
                or (
                    isinstance(error, UpstreamTimeoutError)
                    and self.timeouts.patience != self.deployment.timeouts.patience
                ),
            )

    async def _settle(self, hold: money.Hold, error: GatewayError | None, *, left: bool) -> None:
        asked = self.asked
        ending = settling.ending(self.facts, error, asked, left=left)
        self.outcome, self.bill = ending.outcome, ending.bill
        if ending.bill is not None and not ending.bill.usage.estimated:
            self._learn(asked, ending.bill.usage)
        await self._write(hold, ending.settlement)

    async def _write(self, hold: money.Hold, settlement: money.Settlement | None) -> None:
        """Write how the attempt ended; None where its hold is charged at its expiry."""
        ledger = self.runtime.ledger
        began = self.runtime.clock()
        try:
            if settlement is None:
                seen = self.asked.scale.output.tokens_of(self.facts.output_bytes)
                await ledger.mark_uncertain(hold, seen)
            else:
                self.alarms = alarms_of(hold.request, settlement)
                kept = self.keeping() if self.keeping else None
                self.settled = await ledger.settle(hold, settlement, kept)
            self.settle_s = self.runtime.clock() - began
        except money.LedgerUnavailableError:
            raise LedgerUnavailableError(
                "The ledger cannot be written now.", retry_after_s=2
            ) from None

    def _learn(self, asked: bounds.Asked, usage: Usage) -> None:
        """Remember how long the tokens of an answer were that was text alone, and complete."""
        call = self.call
        if self.facts.complete and not (call.images or call.documents or call.media_bytes):
            size, said = asked.text_bytes, self.facts.output_bytes
            self.runtime.scales.learn(self.deployment, size, said, usage)

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
            alarms=tuple(alarm.kind for alarm in self.alarms),
            admit_ms=self.admit_s * 1000,
            settle_ms=self.settle_s * 1000,
        )


def _over(refusal: money.Refusal) -> BudgetError:
    return BudgetError(refusal.message, detail=settling.refusal_detail(refusal))
