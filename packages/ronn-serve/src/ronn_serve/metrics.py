"""What ``/metrics`` shows: requests by model and answer, those that wait, and RONN's own metrics of runs and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ronn.adapters import file_name
from ronn.adapters import prometheus as adapter
from ronn_serve.models import Models


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        title = "Requests for inference, by the status of their answer"
        self._requests = Counter("ronn_serve_requests", title, ("model", "status"), registry=self._registry)
        title = "Seconds from a request's head to its answer"
        self._seconds = Histogram("ronn_serve_request_seconds", title, ("model",), registry=self._registry)
        self._installed: Any = None

    def install(self, models: Models) -> None:
        """Begins to listen, with the models called as they are served."""
        names = {str(m.source): m.name for m in models.by_name.values()}
        self._installed = adapter.install(self._registry, name=lambda path: names.get(str(path), file_name(path)))
        self._registry.register(_Waiting(models))

    def close(self) -> None:
        """Ends listening."""
        if self._installed is not None:
            self._installed.close()
            self._installed = None

    @contextmanager
    def request(self, model: str) -> Iterator[Callable[[int], None]]:
        """Around a request: the function given is told the status of its answer."""
        began = time.perf_counter()
        status = 500

        def note(found: int) -> None:
            nonlocal status
            status = found

        try:
            yield note
        finally:
            self._requests.labels(model, str(status)).inc()
            self._seconds.labels(model).observe(time.perf_counter() - began)

    def page(self) -> tuple[bytes, str]:
        """The text that Prometheus reads, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Waiting(Collector):  # type: ignore[misc, unused-ignore]
    """Asks the batchers when somebody scrapes."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("ronn_serve_waiting", "Requests that wait for their run", labels=["model"])
        running = GaugeMetricFamily("ronn_serve_running", "Requests whose run is in progress", labels=["model"])
        for model in self._models.by_name.values():
            if model.batcher is not None:
                stats = model.batcher.stats()
                waiting.add_metric([model.name], stats.waiting)
                running.add_metric([model.name], stats.running)
        yield from (waiting, running)
