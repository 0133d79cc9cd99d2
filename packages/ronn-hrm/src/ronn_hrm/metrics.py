"""What a session counts: a few numbers that are cheap to keep, as a mapping, as OpenMetrics text, or for a registry.

metrics = Metrics()
metrics.request("fast", 0.0004)  # its path and its seconds
metrics.add("full_runs", "audit")  # a counter, by a label where it has one
metrics.set("lam", 2.5)  # a gauge
metrics.watch("cache_bytes", lambda: cache.nbytes)  # a gauge that is asked when somebody reads
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from threading import Lock
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError, nearest

if TYPE_CHECKING:
    from prometheus_client.core import Metric

COUNTERS = {
    "full_runs": ("for", "Runs of the expensive model, by what for: answer, audit"),
    "audits": ("", "Requests whose answers were compared because the coin chose them"),
    "disagreements": ("", "Sum of the losses (0 to 1) that audits found"),
    "alarms": ("kind", "Alarms, by what raised them: audit, novelty"),
    "certificates": ("", "Certificates that were made"),
    "sleeps": ("", "Consolidations that were begun"),
    "promotions": ("", "Consolidations whose state took over"),
    "failures": ("of", "Work behind answers that was not done: audit (too many waited), job (it raised an error)"),
}
"""Names of counters: the name of their label (empty: none), and what they count."""

GAUGES = {
    "lam": "The certified threshold; +Inf: the cheap model answers nothing",
    "bound": "Upper bound on the risk, of the certificate in force",
    "alpha": "The risk that may be",
    "share": "Certified share of requests that the cheap model answers",
    "detector": "Value of the audit e-detector; an alarm is raised at its limit",
    "novelty": "How much more novel requests are than those of calibration, in standard deviations",
    "guard": "1 while every request goes to the expensive model after an alarm",
    "epoch": "Alarms so far",
    "cache_entries": "Answers in the exact cache",
    "cache_bytes": "Bytes of the exact cache",
    "episodes": "Episodes that are kept",
    "episode_bytes": "Bytes of the episodes",
    "state_bytes": "Bytes of what was learnt: memory index, adapter, student",
    "queue": "Requests that wait for their audit or for being written down",
}
"""Names of gauges and what they say."""

BUCKETS = (
    5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds of the buckets of latency."""

PREFIX = "ronn_hrm_"


class _Latency:
    """The seconds of one path: how many in each bucket (the last: beyond all), and their sum."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.total = 0.0


class Metrics:
    """The metrics of one session. All methods may be called from any thread, and no count is lost."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._latency: dict[str, _Latency] = {}
        self._counts: dict[str, dict[str, float]] = {n: {} if label else {"": 0} for n, (label, _) in COUNTERS.items()}
        self._gauges: dict[str, float] = {}
        self._watched: dict[str, Callable[[], float]] = {}

    def request(self, path: str, seconds: float) -> None:
        """Counts a request that was answered on ``path`` (as in ``Decision``) in ``seconds``."""
        with self._lock:
            try:
                found = self._latency[path]
            except KeyError:
                found = self._latency[path] = _Latency()
            found.buckets[bisect_left(BUCKETS, seconds)] += 1
            found.total += seconds

    def add(self, name: str, label: str = "", by: float = 1) -> None:
        """Adds to a counter of ``COUNTERS``."""
        with self._lock:
            try:
                self._counts[name][label] += by
            except KeyError:
                _check_counter(name, label)
                self._counts[name][label] = by

    def set(self, name: str, value: float) -> None:
        """Sets a gauge of ``GAUGES``."""
        if name not in GAUGES:
            raise _unknown(name, GAUGES)
        self._gauges[name] = value

    def watch(self, name: str, ask: Callable[[], float]) -> None:
        """Has a gauge asked whenever the metrics are read."""
        if name not in GAUGES:
            raise _unknown(name, GAUGES)
        self._watched[name] = ask

    # --- what was counted

    def count(self, name: str, label: str | None = None) -> float:
        """A counter: one label's, or all together."""
        with self._lock:
            found = self._counts[name]
            return sum(found.values()) if label is None else found.get(label, 0)

    def requests(self) -> dict[str, int]:
        """Requests by path."""
        with self._lock:
            return {path: sum(found.buckets) for path, found in self._latency.items()}

    def gauges(self) -> dict[str, float]:
        """The gauges that were set or are watched."""
        asked = {name: float(ask()) for name, ask in self._watched.items()}
        found = {**self._gauges, **asked}
        return {name: found[name] for name in GAUGES if name in found}

    def as_data(self) -> dict[str, Any]:
        """Plain values, as JSON has them; numbers that JSON lacks are None. ``latency`` has, by path, the count, the
        mean and quantiles (upper bounds of their buckets) in seconds."""
        counts, latency = self._snapshot()
        counters: dict[str, Any] = {}
        for name, (label, _) in COUNTERS.items():
            counters[name] = counts[name] if label else counts[name][""]
        requests = {path: sum(buckets) for path, (buckets, _) in latency.items()}
        whole = sum(requests.values())
        full = sum(counters["full_runs"].values())
        gauges = {name: value if math.isfinite(value) else None for name, value in self.gauges().items()}
        return {
            "requests": requests,
            **counters,
            "full_runs_per_request": full / whole if whole else None,
            "latency": {path: _summary(buckets, total) for path, (buckets, total) in latency.items()},
            **gauges,
        }

    def openmetrics(self) -> str:
        """The text that Prometheus and others read (content type ``application/openmetrics-text; version=1.0.0``)."""
        lines: list[str] = []
        for name, kind, text, samples in self._families():
            lines += [f"# TYPE {PREFIX}{name} {kind}", f"# HELP {PREFIX}{name} {text}"]
            for suffix, labels, value in samples:
                shown = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items())
                lines.append(f"{PREFIX}{name}{suffix}{{{shown}}} {_number(value)}" if shown else
                             f"{PREFIX}{name}{suffix} {_number(value)}")  # fmt: skip
        return "\n".join([*lines, "# EOF", ""])

    def collector(self, **labels: str) -> Any:
        """For a registry of ``prometheus_client``, beside what ``ronn.adapters.prometheus`` puts there:
        ``registry.register(session.metrics.collector(model="digits"))``. labels: of every sample."""
        return _Collector(self, labels)

    def _snapshot(self) -> tuple[dict[str, dict[str, float]], dict[str, tuple[list[int], float]]]:
        with self._lock:
            latency = {path: (list(f.buckets), f.total) for path, f in self._latency.items()}
            return {name: dict(found) for name, found in self._counts.items()}, latency

    def _families(self) -> Iterator[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]:
        """Name, kind, text, and samples (suffix, labels, value) of each metric."""
        counts, latency = self._snapshot()
        samples: list[tuple[str, dict[str, str], float]] = []
        for path, (buckets, total) in latency.items():
            below = 0
            for bound, number in zip((*BUCKETS, math.inf), buckets, strict=True):
                below += number
                samples.append(("_bucket", {"path": path, "le": _number(bound)}, below))
            samples += [("_count", {"path": path}, below), ("_sum", {"path": path}, total)]
        yield "request_seconds", "histogram", "Seconds of answers, by path", samples
        for name, (label, text) in COUNTERS.items():
            yield name, "counter", text, [("_total", {label: w} if label else {}, v) for w, v in counts[name].items()]
        gauges = self.gauges()
        for name, text in GAUGES.items():
            if name in gauges:
                yield name, "gauge", text, [("", {}, gauges[name])]


class _Collector:
    """What a registry asks when somebody scrapes."""

    def __init__(self, metrics: Metrics, labels: dict[str, str]) -> None:
        self._metrics = metrics
        self._labels = labels

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import Metric

        for name, kind, text, samples in self._metrics._families():
            family = Metric(PREFIX + name, text, kind)
            for suffix, labels, value in samples:
                family.add_sample(PREFIX + name + suffix, {**self._labels, **labels}, value)
            yield family


def _check_counter(name: str, label: str) -> None:
    if name not in COUNTERS:
        raise _unknown(name, COUNTERS)
    wanted = COUNTERS[name][0]
    if bool(wanted) != bool(label):
        raise OptionError(f"counter {name!r} has {f'the label {wanted!r}' if wanted else 'no label'}, given {label!r}")


def _unknown(name: str, known: dict[str, Any]) -> OptionError:
    near = nearest(name, list(known))
    return OptionError(f"there is no metric {name!r}", hint=f"did you mean {near!r}?" if near else ", ".join(known))


def _summary(buckets: list[int], total: float) -> dict[str, float | int | None]:
    count = sum(buckets)
    found: dict[str, float | int | None] = {"count": count, "mean": total / count if count else None}
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        found[name] = _quantile(buckets, share * count)
    return found


def _quantile(buckets: list[int], rank: float) -> float | None:
    """The upper bound of the bucket in which the rank lies; None beyond the last."""
    below = 0
    for bound, number in zip(BUCKETS, buckets, strict=False):
        below += number
        if below >= rank and below:
            return bound
    return None


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
