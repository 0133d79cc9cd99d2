"""Counters, gauges and latencies: exact over threads, and readable by others."""

from __future__ import annotations

import json
import math
from threading import Barrier, Thread

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ronn.errors import OptionError
from ronn_hrm.metrics import BUCKETS, COUNTERS, GAUGES, Metrics

PATHS = ("cache", "fast", "full", "full:gate(tokens)")


def used() -> Metrics:
    metrics = Metrics()
    for path, seconds in (("fast", 3e-4), ("fast", 4e-4), ("fast", 20.0), ("full:guard", 0.02), ("cache", 0.0)):
        metrics.request(path, seconds)
    metrics.add("full_runs", "answer")
    metrics.add("full_runs", "audit", 2)
    metrics.add("audits", by=2)
    metrics.add("disagreements", by=0.5)
    metrics.add("alarms", 'a "strange"\\\nkind')
    metrics.set("lam", math.inf)
    metrics.set("bound", 0.008)
    metrics.watch("cache_bytes", lambda: 123)
    return metrics


def test_no_count_is_lost_among_threads():
    metrics, start, each = Metrics(), Barrier(8), 3000

    def work(seed):
        start.wait()
        for i in range(each):
            metrics.request(PATHS[(i + seed) % 4], 1e-6 * (i % 64))
            metrics.add("full_runs", "audit" if i % 3 else "answer")
            metrics.add("disagreements", by=0.25)

    threads = [Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert metrics.requests() == dict.fromkeys(PATHS, 8 * each // 4)
    assert metrics.count("full_runs") == 8 * each and metrics.count("full_runs", "answer") == 8 * each / 3
    assert metrics.count("disagreements") == 8 * each * 0.25
    latency = metrics.as_data()["latency"]
    mean = sum(1e-6 * (i % 64) for i in range(each)) / each
    assert sum(s["count"] * s["mean"] for s in latency.values()) / (8 * each) == pytest.approx(mean)


def test_the_text_is_openmetrics():
    families = {f.name: f for f in text_string_to_metric_families(used().openmetrics())}
    assert set(families) == {f"ronn_hrm_{n}" for n in ("request_seconds", *COUNTERS, "lam", "bound", "cache_bytes")}
    found = {(s.name, *sorted(s.labels.items())): s.value for f in families.values() for s in f.samples}
    assert found["ronn_hrm_full_runs_total", ("for", "audit")] == 2
    assert found["ronn_hrm_audits_total",] == 2 and found["ronn_hrm_sleeps_total",] == 0
    assert found["ronn_hrm_alarms_total", ("kind", 'a "strange"\\\nkind')] == 1
    assert found["ronn_hrm_lam",] == math.inf and found["ronn_hrm_cache_bytes",] == 123
    within = {s.labels["le"]: s.value for s in families["ronn_hrm_request_seconds"].samples
              if s.name.endswith("_bucket") and s.labels["path"] == "fast"}  # fmt: skip
    assert len(within) == len(BUCKETS) + 1
    assert (within["0.0002"], within["0.0005"], within["10.0"], within["+Inf"]) == (0, 2, 2, 3)
    assert families["ronn_hrm_bound"].type == "gauge" and families["ronn_hrm_audits"].documentation
    assert list(text_string_to_metric_families(Metrics().openmetrics()))  # before anything was counted


def test_a_registry_can_collect_them():
    registry = CollectorRegistry()
    metrics = used()
    registry.register(metrics.collector(model="digits"))
    text = generate_latest(registry).decode()
    assert 'ronn_hrm_full_runs_total{for="audit",model="digits"} 2.0' in text
    assert 'ronn_hrm_request_seconds_bucket{le="0.0005",model="digits",path="fast"} 2.0' in text
    metrics.add("audits")
    assert 'ronn_hrm_audits_total{model="digits"} 3.0' in generate_latest(registry).decode()


def test_plain_data_sum_up():
    data = used().as_data()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["requests"] == {"fast": 3, "full:guard": 1, "cache": 1}
    assert data["full_runs"] == {"answer": 1, "audit": 2} and data["full_runs_per_request"] == 3 / 5
    assert data["lam"] is None and data["bound"] == 0.008
    fast = data["latency"]["fast"]
    assert (fast["count"], fast["p50"], fast["p99"]) == (3, 5e-4, None)
    assert fast["mean"] == pytest.approx(20.0007 / 3)


def test_unknown_names_are_refused_with_the_nearest():
    metrics = Metrics()
    with pytest.raises(OptionError, match="did you mean 'audits'"):
        metrics.add("audit")
    with pytest.raises(OptionError, match="has the label 'for'"):
        metrics.add("full_runs")
    with pytest.raises(OptionError, match="has no label"):
        metrics.add("audits", "x")
    for call in (lambda: metrics.set("lambda", 1.0), lambda: metrics.watch("lambda", lambda: 1.0)):
        with pytest.raises(OptionError, match="there is no metric 'lambda'"):
            call()
    assert not set(GAUGES) & set(COUNTERS)
