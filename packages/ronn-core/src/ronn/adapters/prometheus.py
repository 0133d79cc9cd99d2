"""Metrics in a registry of ``prometheus_client``: ``ronn.adapters.prometheus.install()``.

Exposing them is up to the program, with ``prometheus_client.start_http_server``, ``make_asgi_app`` or the like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ronn import adapters, events
from ronn.adapters import SECONDS, SIZES, Installed, Naming, file_name

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as e:
    raise adapters.lacking("prometheus", e) from e

_installed: dict[int, Installed] = {}


def install(
    registry: CollectorRegistry = REGISTRY, *, name: Naming = file_name, buckets: Sequence[float] = SECONDS
) -> Installed:
    """Registers the metrics, and keeps them up to date from now on. Doing it twice for one registry is doing it once.

    ``name`` makes the label ``model`` of a model's path. ``buckets``: upper bounds of histograms of seconds.
    """
    key = id(registry)
    if key not in _installed:
        collectors = _Collectors(registry, name, buckets)
        subscription = events.subscribe(collectors)
        _installed[key] = Installed(collectors.close, subscription.close, lambda: _installed.pop(key, None))
    return _installed[key]


class _Held(Collector):  # type: ignore[misc, unused-ignore]
    """Asks the open sessions when somebody scrapes."""

    def __init__(self, name: Naming) -> None:
        self._name = name

    def describe(self) -> list[Metric]:
        return list(self._families())

    def _families(self) -> Iterator[Any]:
        yield GaugeMetricFamily("ronn_sessions", "Open sessions", labels=["model"])
        text = "Bytes that open sessions hold, by purpose; mapped ones are no part of their memory"
        yield GaugeMetricFamily("ronn_memory_bytes", text, labels=["model", "purpose"])
        yield GaugeMetricFamily("ronn_memory_limit_bytes", "Limits of sessions that have one", labels=["model"])

    def collect(self) -> Iterator[Metric]:
        found = adapters.held(self._name)
        sessions, memory, limits = self._families()
        for model, number in found.sessions.items():
            sessions.add_metric([model], number)
        for (model, purpose), size in found.memory.items():
            memory.add_metric([model, purpose], size)
        for model, size in found.limits.items():
            limits.add_metric([model], size)
        yield from (sessions, memory, limits)


class _Collectors:
    def __init__(self, registry: CollectorRegistry, name: Naming, buckets: Sequence[float]) -> None:
        self._registry = registry
        self._name = name
        self._made: list[Any] = []
        self._begun: set[int] = set()

        def make(kind: type, title: str, text: str, *labels: str, **options: Any) -> Any:
            made = kind(title, text, labels, registry=registry, **options)
            self._made.append(made)
            return made

        self._seconds = make(Histogram, "ronn_run_seconds", "Seconds of finished runs", "model", buckets=buckets)
        self._queued = make(Histogram, "ronn_run_queue_seconds", "Seconds that runs waited", "model", buckets=buckets)
        self._runs = make(Counter, "ronn_runs", "Runs that were begun", "model")
        self._active = make(Gauge, "ronn_runs_active", "Runs in progress", "model")
        self._errors = make(Counter, "ronn_run_errors", "Runs that raised", "model", "error")
        self._cancels = make(Counter, "ronn_run_cancels", "Runs that were stopped", "model", "reason")
        self._plans = make(Histogram, "ronn_plan_seconds", "Seconds of planning new sizes", "model", buckets=buckets)
        self._waited = make(Counter, "ronn_plans_in_runs", "Plans that a run waited for", "model")
        self._compiles = make(Counter, "ronn_compiles", "Kernels compiled to machine code")
        self._lookups = make(Counter, "ronn_cache_lookups", "Look-ups in caches on disk", "cache", "result")
        self._batches = make(Histogram, "ronn_batch_size", "Requests in a batch", "model", buckets=SIZES)
        self._refused = make(Counter, "ronn_memory_refusals", "Plans and runs over a limit", "model")
        self._fallbacks = make(Counter, "ronn_fallback_nodes", "Nodes that fell back", "model", "provider", "to")
        self._failures = make(Counter, "ronn_provider_failures", "Providers that failed", "provider")
        held = _Held(name)
        registry.register(held)
        self._made.append(held)
        self._handlers: dict[str, Callable[[Any], None]] = {
            "RunStarted": self._run_started,
            "RunFinished": self._run_finished,
            "RunFailed": lambda e: self._run_stopped(e, self._errors, e.error),
            "RunCancelled": lambda e: self._run_stopped(e, self._cancels, e.reason),
            "PlanMade": self._plan_made,
            "KernelsCompiled": lambda e: self._compiles.inc(len(e.kernels)),
            "CacheHit": lambda e: self._lookups.labels(e.cache, "hit").inc(),
            "CacheMiss": lambda e: self._lookups.labels(e.cache, "miss").inc(),
            "BatchFormed": lambda e: self._batches.labels(self._name(e.model)).observe(e.size),
            "MemoryRefused": lambda e: self._refused.labels(self._name(e.model)).inc(),
            "ProviderFellBack": lambda e: self._fallbacks.labels(self._name(e.model), e.provider, e.to).inc(e.nodes),
            "ProviderFailed": lambda e: self._failures.labels(e.provider).inc(),
        }

    def close(self) -> None:
        """Takes the metrics out of the registry."""
        while self._made:
            self._registry.unregister(self._made.pop())

    def __call__(self, event: events.Event) -> None:
        handler = self._handlers.get(event.kind)
        if handler is not None:
            handler(event)

    def _run_started(self, event: events.RunStarted) -> None:
        model = self._name(event.model)
        self._begun.add(event.run)
        self._runs.labels(model).inc()
        self._active.labels(model).inc()
        if event.queued:
            self._queued.labels(model).observe(event.queued)

    def _over(self, event: events.RunEvent) -> str:
        model = self._name(event.model)
        if event.run in self._begun:  # else it had begun before the adapter came
            self._begun.discard(event.run)
            self._active.labels(model).dec()
        return model

    def _run_finished(self, event: events.RunFinished) -> None:
        self._seconds.labels(self._over(event)).observe(event.seconds)

    def _run_stopped(self, event: events.RunEvent, counter: Any, why: str) -> None:
        counter.labels(self._over(event), why).inc()

    def _plan_made(self, event: events.PlanMade) -> None:
        model = self._name(event.model)
        self._plans.labels(model).observe(event.seconds)
        if event.run is not None:
            self._waited.labels(model).inc()
