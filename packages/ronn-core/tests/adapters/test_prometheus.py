"""The Prometheus adapter with a real registry: what a scrape says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from prometheus_client import CollectorRegistry, generate_latest

import ronn
from ronn import listeners
from ronn.adapters import prometheus

X = np.array([-1, 2], np.float32)


def model(path: Any) -> Any:
    io = [h.make_tensor_value_info(n, T.FLOAT, ["N"]) for n in "xy"]
    weight = h.make_tensor("w", T.FLOAT, [1], [3.0])
    g = h.make_graph([h.make_node("Mul", ["x", "w"], ["y"], name="scale")], "g", io[:1], io[1:], [weight])
    path.write_bytes(h.make_model(g, opset_imports=[h.make_opsetid("", 18)], ir_version=9).SerializeToString())
    return path


@pytest.fixture
def scraped() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    with prometheus.install(registry):
        yield registry
    assert generate_latest(registry) == b"" and not listeners.watching_runs


def test_what_a_scrape_says(scraped: CollectorRegistry, tmp_path: Any) -> None:
    session = ronn.Session(model(tmp_path / "scraped.onnx"), providers=["reference"], options={"memory_limit": "2MB"})
    for n in (1, 2, 2):
        session.run(np.zeros(n, np.float32))
    with pytest.raises(ronn.InputError):
        session.run({"z": X})
    with pytest.raises(TimeoutError):
        session.run(X, timeout=0)
    with pytest.raises(ronn.MemoryLimitError):
        session.run(np.zeros(10**6, np.float32))

    def value(name: str, **labels: str) -> float | None:
        return scraped.get_sample_value(name, {"model": "scraped.onnx", **labels})

    assert value("ronn_runs_total") == 6
    assert value("ronn_run_seconds_count") == 3
    assert 0 < value("ronn_run_seconds_sum") < 60  # type: ignore[operator]
    assert value("ronn_run_errors_total", error="InputError") == 1
    assert value("ronn_run_errors_total", error="MemoryLimitError") == 1
    assert value("ronn_run_cancels_total", reason="timeout") == 1
    assert value("ronn_runs_active") == 0
    assert value("ronn_plan_seconds_count") == value("ronn_plans_in_runs_total") == 2
    assert value("ronn_memory_refusals_total") == 1
    assert value("ronn_memory_bytes", purpose="weights") == session.memory().weights > 0
    assert value("ronn_memory_limit_bytes") == 2_000_000
    assert value("ronn_sessions") == 1
    text = generate_latest(scraped).decode()
    assert 'ronn_run_seconds_bucket{le="0.001",model="scraped.onnx"}' in text
    session.close()
    assert value("ronn_sessions") is None
    assert value("ronn_runs_total") == 6


def test_another_name_for_models(tmp_path: Any) -> None:
    registry = CollectorRegistry()
    with prometheus.install(registry, name=lambda source: "the model", buckets=[0.5, 1.0]):
        ronn.Session(model(tmp_path / "m.onnx"), providers=["reference"]).run(X)
        assert registry.get_sample_value("ronn_run_seconds_bucket", {"model": "the model", "le": "0.5"}) is not None


def test_installing_twice_is_installing_once(scraped: CollectorRegistry, tmp_path: Any) -> None:
    again = prometheus.install(scraped)
    session = ronn.Session(model(tmp_path / "m.onnx"), providers=["reference"])
    session.run(X)
    assert scraped.get_sample_value("ronn_runs_total", {"model": "m.onnx"}) == 1
    again.close()
    prometheus.install(scraped).close()


def test_without_the_package_the_error_names_the_extra() -> None:
    text = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import ronn\n"
        "try: import ronn.adapters.prometheus\n"
        "except ronn.ProviderError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "pip install 'ronn-core[prometheus]'" in done.stdout
