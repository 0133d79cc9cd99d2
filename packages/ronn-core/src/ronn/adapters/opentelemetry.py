"""Spans and metrics through the OpenTelemetry API: ``ronn.adapters.opentelemetry.install()``.

Spans: ``ronn.load``, ``ronn.session``, ``ronn.plan``, ``ronn.compile``, ``ronn.batch`` and ``ronn.run``, each below the
span that is current where it happens; a run is current for what it waits for, and for custom ops that it calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ronn import adapters, events
from ronn.adapters import SECONDS, SIZES, Held, Installed, Naming, attributes, file_name

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.trace import Span, Status, StatusCode
except ImportError as e:
    raise adapters.lacking("opentelemetry", e) from e

SCOPE = "ronn"
_installed: dict[tuple[int, int], Installed] = {}


def install(*, tracer_provider: Any = None, meter_provider: Any = None, name: Naming = file_name) -> Installed:
    """Turns events into spans and metrics of these providers (default: the global ones, also those that the program
    sets later). ``name`` makes the attribute ``ronn.model`` of a model's path.

    Doing it twice with the same providers is doing it once.
    """
    key = (id(tracer_provider), id(meter_provider))
    if key not in _installed:
        tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        spans, instruments = _Spans(tracer, name), _Instruments(meter, name)
        ends = [events.subscribe(each).close for each in (spans, instruments)]
        _installed[key] = Installed(*ends, instruments.close, lambda: _installed.pop(key, None))
    return _installed[key]


def _nanoseconds(at: float) -> int:
    """Nanoseconds since the epoch of a moment of ``time.monotonic``."""
    return time.time_ns() - int((time.monotonic() - at) * 1e9)


class _Spans:
    def __init__(self, tracer: Any, name: Naming) -> None:
        self._tracer = tracer
        self._name = name
        self._open: dict[int, tuple[Span, Any]] = {}

    def __call__(self, event: events.Event) -> None:
        handle = getattr(self, f"_{event.kind}", None)
        if handle is not None:
            handle(event)

    def _span(self, title: str, event: Any, began: float | None = None, **given: Any) -> None:
        model = getattr(event, "model", None)
        about = attributes(
            ronn_model=None if model is None else self._name(model), ronn_session=getattr(event, "session", None)
        )
        started = event.started if began is None else began
        span = self._tracer.start_span(
            title, start_time=_nanoseconds(started), attributes={**about, **attributes(**given)}
        )
        span.end(_nanoseconds(event.at))

    def _ModelLoaded(self, event: events.ModelLoaded) -> None:
        self._span("ronn.load", event, ronn_nodes=event.nodes)

    def _SessionCreated(self, event: events.SessionCreated) -> None:
        self._span("ronn.session", event, ronn_providers=list(event.providers))

    def _PlanMade(self, event: events.PlanMade) -> None:
        self._span("ronn.plan", event, ronn_signature=event.signature, ronn_compiles=event.compiles)

    def _KernelsCompiled(self, event: events.KernelsCompiled) -> None:
        self._span("ronn.compile", event, ronn_kernels=list(event.kernels))

    def _BatchFormed(self, event: events.BatchFormed) -> None:
        began = event.at - event.waited
        self._span("ronn.batch", event, began, ronn_batch_size=event.size, ronn_batch_rows=event.rows)

    def _RunStarted(self, event: events.RunStarted) -> None:
        given = attributes(
            ronn_model=self._name(event.model),
            ronn_session=event.session,
            ronn_run=event.run,
            ronn_queued=event.queued if event.queued else None,
        )
        span = self._tracer.start_span("ronn.run", start_time=_nanoseconds(event.at), attributes=given)
        self._open[event.run] = (span, context.attach(trace.set_span_in_context(span)))

    def _ended(self, event: events.RunFinished | events.RunFailed | events.RunCancelled) -> Span | None:
        """The span of a run, no longer current; None where the adapter came after the run had begun."""
        found = self._open.pop(event.run, None)
        if found is None:
            return None
        span, token = found
        context.detach(token)
        return span

    def _RunFinished(self, event: events.RunFinished) -> None:
        span = self._ended(event)
        if span is not None:
            span.set_attribute("ronn.signature", event.signature)
            span.end(_nanoseconds(event.at))

    def _RunFailed(self, event: events.RunFailed) -> None:
        span = self._ended(event)
        if span is not None:
            span.add_event("exception", {"exception.type": event.error, "exception.message": event.message})
            span.set_attribute("error.type", event.error)
            if event.node:
                span.set_attribute("ronn.node", event.node)
            span.set_status(Status(StatusCode.ERROR, event.message))
            span.end(_nanoseconds(event.at))

    def _RunCancelled(self, event: events.RunCancelled) -> None:
        span = self._ended(event)
        if span is not None:
            span.set_attribute("error.type", event.reason)
            if event.reason == "timeout":
                span.set_status(Status(StatusCode.ERROR, event.message))
            span.end(_nanoseconds(event.at))


class _Instruments:
    def __init__(self, meter: Any, name: Naming) -> None:
        self._name = name
        self._closed = False
        self._seconds = meter.create_histogram(
            "ronn.run.duration", "s", "Time of runs", explicit_bucket_boundaries_advisory=SECONDS
        )
        self._queued = meter.create_histogram(
            "ronn.run.queue.duration", "s", "Time that runs waited", explicit_bucket_boundaries_advisory=SECONDS
        )
        self._active = meter.create_up_down_counter("ronn.run.active", "{run}", "Runs in progress")
        self._plans = meter.create_histogram(
            "ronn.plan.duration", "s", "Time of planning new input sizes", explicit_bucket_boundaries_advisory=SECONDS
        )
        self._compiled = meter.create_counter("ronn.kernel.compiled", "{kernel}", "Kernels compiled to machine code")
        self._lookups = meter.create_counter("ronn.cache.lookups", "{lookup}", "Look-ups in caches on disk")
        self._batches = meter.create_histogram(
            "ronn.batch.size", "{request}", "Requests in a batch", explicit_bucket_boundaries_advisory=SIZES
        )
        self._refused = meter.create_counter("ronn.memory.refused", "{refusal}", "Plans and runs over a limit")
        self._fallbacks = meter.create_counter("ronn.provider.fallbacks", "{node}", "Nodes that fell back")
        self._failed = meter.create_counter("ronn.provider.failures", "{failure}", "Providers that failed")
        up_down = meter.create_observable_up_down_counter
        up_down("ronn.session.count", [self._sessions], "{session}", "Open sessions")
        up_down("ronn.memory.usage", [self._memory], "By", "Memory that open sessions hold, by purpose")
        up_down("ronn.memory.limit", [self._limits], "By", "Limits of the open sessions that have one")
        self._begun: set[int] = set()
        self._handlers = {
            "RunStarted": self._run_started,
            "RunFinished": self._run_ended,
            "RunFailed": self._run_ended,
            "RunCancelled": self._run_ended,
        }

    def close(self) -> None:
        """Ends observations: instruments themselves cannot be taken back."""
        self._closed = True

    def __call__(self, event: Any) -> None:
        handler = self._handlers.get(event.kind)
        if handler is not None:
            handler(event)
        elif isinstance(event, events.PlanMade):
            self._plans.record(event.seconds, self._model(event))
        elif isinstance(event, events.KernelsCompiled):
            self._compiled.add(len(event.kernels))
        elif isinstance(event, (events.CacheHit, events.CacheMiss)):
            found = "hit" if isinstance(event, events.CacheHit) else "miss"
            self._lookups.add(1, {"ronn.cache": event.cache, "ronn.cache.result": found})
        elif isinstance(event, events.BatchFormed):
            self._batches.record(event.size, self._model(event))
        elif isinstance(event, events.MemoryRefused):
            self._refused.add(1, self._model(event))
        elif isinstance(event, events.ProviderFellBack):
            to = {"ronn.provider": event.provider, "ronn.provider.used": event.to}
            self._fallbacks.add(event.nodes, {**self._model(event), **to})
        elif isinstance(event, events.ProviderFailed):
            self._failed.add(1, {"ronn.provider": event.provider})

    def _model(self, event: events.SessionEvent) -> dict[str, Any]:
        return {"ronn.model": self._name(event.model)}

    def _run_started(self, event: events.RunStarted) -> None:
        self._begun.add(event.run)
        self._active.add(1, self._model(event))
        if event.queued:
            self._queued.record(event.queued, self._model(event))

    def _run_ended(self, event: Any) -> None:
        about = self._model(event)
        if event.run in self._begun:
            self._begun.discard(event.run)
            self._active.add(-1, about)
        error = getattr(event, "error", getattr(event, "reason", None))
        self._seconds.record(event.seconds, {**about, "error.type": error} if error is not None else about)

    # --- observed when somebody collects

    def _held(self) -> Held | None:
        return None if self._closed else adapters.held(self._name)

    def _sessions(self, options: CallbackOptions) -> Iterable[Observation]:
        found = self._held()
        return [Observation(n, {"ronn.model": m}) for m, n in found.sessions.items()] if found is not None else []

    def _memory(self, options: CallbackOptions) -> Iterable[Observation]:
        found = self._held()
        items = found.memory.items() if found is not None else ()
        return [Observation(n, {"ronn.model": m, "ronn.memory.purpose": p}) for (m, p), n in items]

    def _limits(self, options: CallbackOptions) -> Iterable[Observation]:
        found = self._held()
        return [Observation(n, {"ronn.model": m}) for m, n in found.limits.items()] if found is not None else []
