"""Keep Prometheus' numbers; every label has few values, whatever callers send.

Providers and models are configured ones, statuses are classes, tenants beyond the first 200 share
one name. A label set is looked up once and kept: Prometheus' own lookup costs more than counting.

Several workers: `serve` sets PROMETHEUS_MULTIPROC_DIR to an empty directory, each process counts in
files of its own there and whichever is scraped sums them up. Counting so is slower, but happens off
the event loop (the recorder's thread calls `observe`) and needs no talk between workers.
"""

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from llm_gateway.types import AttemptRecord, CallRecord

TENANTS = 200
OTHER = "other"
NANO = 1e9
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
STATES = ("closed", "ramp", "half_open", "open", "forced_open", "forced_closed")
ATTEMPT_OK = "ok"

Child = TypeVar("Child")


class Sample(Struct, frozen=True, kw_only=True):
    """What a process tells of itself now; its totals are since it started."""

    in_flight: int = 0
    loop_lag_s: float = 0.0
    tasks: int = 0
    ledger_queue: int = 0
    limits_away: bool = False
    limits_lost: int = 0
    recorder_waiting: int = 0
    recorder_dropped: int = 0
    contents_left_out: int = 0
    cache_entries: int = 0
    cache_bytes: int = 0
    # What its cache of answers did, each with how often.
    cache_did: Mapping[str, int] = {}


class _Request(Struct, frozen=True):
    """The children that one kind of request counts in."""

    requests: Counter
    cost: Counter
    tokens: tuple[Counter, Counter, Counter, Counter]
    seconds: Histogram
    first_token: Histogram


class Metrics:
    """All collectors of a process over one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._tenants: set[str] = set()
        self._kept: dict[tuple[str, ...], object] = {}
        self._request_collectors()
        self._attempt_collectors()
        self._process_collectors()

    def observe(self, call: CallRecord) -> None:
        """Count one finished call: a sink of the recorder."""
        status = f"{call.status // 100}xx"
        tenant = self._tenant(call.tenant_name)
        children = self._child(
            ("request", tenant, call.model, call.provider, call.dialect, status), self._request
        )
        children.requests.inc()
        children.cost.inc(call.cost_nano / NANO)
        counts = (call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens)
        for counter, tokens in zip(children.tokens, counts, strict=True):
            if tokens:
                counter.inc(tokens)
        children.seconds.observe(call.duration_ms / 1000)
        if call.first_token_ms is not None:
            children.first_token.observe(call.first_token_ms / 1000)
        self._child(("cache", call.cache), self._cache.labels).inc()
        if call.fallback:
            labels = (call.requested_model, call.fallback)
            self._child(("degraded", *labels), self._degraded.labels).inc()
        for one in call.decision.get("guardrails", ()):
            looked = (one["kind"], one["action"], one["on"])
            self._child(("guardrail", *looked), self._guardrails.labels).inc(one["matches"])
        if call.hedged:
            self._child(("hedged", call.requested_model), self._hedged.labels).inc()
        if call.status >= 400:  # noqa: PLR2004 - where HTTP's errors begin
            self._child(("error", call.code, call.category), self._errors.labels).inc()
        self._observe_attempts(call.attempts)

    def breaker_changed(self, provider: str, model: str, state: str) -> None:
        """Show where a circuit stands, whoever decided it."""
        self._circuit.labels(provider, model).set(STATES.index(state))

    def breaker_counted(self, provider: str, model: str, state: str) -> None:
        """Count a change of a circuit that this process decided, for the fleet or for itself."""
        self._circuit_changes.labels(provider, model, state).inc()

    def breaker_probed(self, provider: str, model: str, outcome: str) -> None:
        self._probes.labels(provider, model, outcome).inc()

    def model_list_looked(self, provider: str, category: str) -> None:
        """Count a look at a provider's model list; the category is of what was wrong, or ok."""
        self._looks.labels(provider, category).inc()

    def sample(self, now: Sample) -> None:
        """Take in what the process tells of itself, every few seconds.

        It tells by itself, so that every worker's numbers are there whichever one is scraped.
        """
        self._in_flight.set(now.in_flight)
        self._loop_lag.set(now.loop_lag_s)
        self._tasks.set(now.tasks)
        self._ledger_queue.set(now.ledger_queue)
        self._limits_away.set(now.limits_away)
        self._limits_lost.set(now.limits_lost)
        self._recorder_waiting.set(now.recorder_waiting)
        self._recorder_dropped.set(now.recorder_dropped)
        self._contents_left_out.set(now.contents_left_out)
        self._cache_entries.set(now.cache_entries)
        self._cache_bytes.set(now.cache_bytes)
        for did, times in now.cache_did.items():
            self._child(("cache_did", did), self._cache_did.labels).set(times)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format, all workers summed up."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call] # not annotated there
        return generate_latest(together)

    # --- collectors ----------------------------------------------------------------------------

    def _request_collectors(self) -> None:
        whose = ("tenant", "model", "provider")
        self._requests = self._counter(
            "requests", "Requests that ended", *whose, "dialect", "status"
        )
        self._tokens = self._counter("tokens", "Tokens of requests", *whose, "kind")
        self._cost = self._counter("cost_usd", "Cost in US dollars", *whose)
        self._seconds = self._histogram(
            "request_seconds", "Whole time of a request", SECONDS, "model", "provider", "dialect"
        )
        self._first_token = self._histogram(
            "first_token_seconds", "Time to the first token", SECONDS, "model", "provider"
        )
        self._errors = self._counter("errors", "Requests answered by an error", "code", "category")
        self._guardrails = self._counter(
            "guardrail_matches", "What guardrails have found", "kind", "action", "on"
        )
        self._degraded = self._counter(
            "degraded",
            "Requests that models answered which their route names for a rejection",
            "route",
            "rejection",
        )
        self._hedged = self._counter(
            "hedged", "Requests for which a second target started, the first being late", "route"
        )
        self._cache = self._counter("cache", "Requests by what the cache said", "result")

    def _attempt_collectors(self) -> None:
        target = ("provider", "model")
        self._attempts = self._counter("attempts", "Upstream calls that ended", *target, "category")
        self._retries = self._counter("retries", "Repeats at the same target", *target)
        self._fallbacks = self._counter("fallbacks", "Attempts that moved to this target", *target)
        self._alarms = self._counter(
            "alarms",
            "Attempts that something is wrong about how they were charged",
            "kind",
            *target,
        )
        self._circuit = self._gauge(
            "circuit_state",
            f"Circuit of a deployment: {', '.join(f'{n} {s}' for n, s in enumerate(STATES))}",
            *target,
            mode="mostrecent",
        )
        self._circuit_changes = self._counter(
            "circuit_changes", "Changes of a circuit's state", *target, "state"
        )
        self._probes = self._counter(
            "circuit_probes", "Probes of a half-open circuit that ended", *target, "outcome"
        )

        self._looks = self._counter(
            "model_list_looks",
            "Looks at the model list of an idle or failing provider",
            "provider",
            "category",
        )

    def _process_collectors(self) -> None:
        self._in_flight = self._gauge("requests_in_flight", "Requests running now")
        self._loop_lag = self._gauge(
            "loop_lag_seconds", "Most that the event loop was late, lately", mode="livemax"
        )
        self._tasks = self._gauge("loop_tasks", "Tasks of the event loop")
        self._ledger_queue = self._gauge("ledger_queue", "Operations waiting for the writer")
        self._ledger_seconds = self._histogram(
            "ledger_seconds", "Wait for the ledger's commit", COMMIT_SECONDS, "operation"
        )
        self._limits_away = self._gauge("limits_away", "Processes that keep limits without Redis")
        self._limits_lost = self._gauge("limits_lost", "Settles that may not have reached Redis")
        self._recorder_waiting = self._gauge("recorder_waiting", "Records not yet written")
        self._recorder_dropped = self._gauge("recorder_dropped", "Records that were not kept")
        self._contents_left_out = self._gauge(
            "recorder_contents_left_out", "Records kept without the contents their tenant keeps"
        )
        self._cache_entries = self._gauge("cache_entries", "Answers in the caches' memory")
        self._cache_bytes = self._gauge("cache_bytes", "Bytes of answers in the caches' memory")
        self._cache_did = self._gauge(
            "cache_did", "What the caches of answers did since their processes started", "did"
        )

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"mobius_{name}", says, labels, registry=self._registry)

    def _histogram(
        self, name: str, says: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"mobius_{name}", says, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, says: str, *labels: str, mode: str = "livesum") -> Gauge:
        return Gauge(
            f"mobius_{name}",
            says,
            labels,
            multiprocess_mode=mode,  # type: ignore[arg-type] # a literal there
            registry=self._registry,
        )

    # --- children ------------------------------------------------------------------------------

    def _observe_attempts(self, attempts: tuple[AttemptRecord, ...]) -> None:
        before: AttemptRecord | None = None
        for attempt in attempts:
            target = (attempt.provider, attempt.model)
            category = attempt.category or ATTEMPT_OK
            self._child(("attempt", *target, category), self._attempts.labels).inc()
            if before is not None:
                same = before.deployment_id == attempt.deployment_id
                further = self._retries if same else self._fallbacks
                self._child(("retry" if same else "fallback", *target), further.labels).inc()
            self._observe_charge(attempt)
            before = attempt

    def _observe_charge(self, attempt: AttemptRecord) -> None:
        for operation, took_ms in (("admit", attempt.admit_ms), ("settle", attempt.settle_ms)):
            if took_ms:
                children = self._child(("ledger", operation), self._ledger_seconds.labels)
                children.observe(took_ms / 1000)
        for kind in attempt.alarms:
            self._child(("alarm", kind, attempt.provider, attempt.model), self._alarms.labels).inc()

    def _child(self, key: tuple[str, ...], make: Callable[..., Child]) -> Child:
        """Return the child of a label set; `key` is the collector's word and the labels."""
        known = self._kept.get(key)
        if known is None:
            known = self._kept[key] = make(*key[1:])
        return known  # type: ignore[return-value] # what `make` made of this key

    def _request(
        self, tenant: str, model: str, provider: str, dialect: str, status: str
    ) -> _Request:
        whose = (tenant, model, provider)
        return _Request(
            requests=self._requests.labels(*whose, dialect, status),
            cost=self._cost.labels(*whose),
            tokens=(
                self._tokens.labels(*whose, "input"),
                self._tokens.labels(*whose, "output"),
                self._tokens.labels(*whose, "cached"),
                self._tokens.labels(*whose, "reasoning"),
            ),
            seconds=self._seconds.labels(model, provider, dialect),
            first_token=self._first_token.labels(model, provider),
        )

    def _tenant(self, name: str) -> str:
        if name in self._tenants:
            return name
        if len(self._tenants) >= TENANTS:
            return OTHER
        self._tenants.add(name)
        return name


_metrics = Metrics(CollectorRegistry())

observe = _metrics.observe
breaker_changed = _metrics.breaker_changed
breaker_counted = _metrics.breaker_counted
breaker_probed = _metrics.breaker_probed
model_list_looked = _metrics.model_list_looked
sample = _metrics.sample
render = _metrics.render
