"""Bursts are taken in turn, uncounted runs are not counted, and the report shows what failed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks import bench, bench_report
from benchmarks.alone import write_job
from benchmarks.targets import memory_row
from benchmarks.workers import REPOSITORY, run_worker
from ronn.benchmark.timing import LEAST_RUNS


def test_runs_are_interleaved_and_the_first_two_of_a_burst_uncounted(monkeypatch) -> None:
    monkeypatch.setattr(bench, "BURST_S", 0.0)
    monkeypatch.setattr(bench, "PAUSE_S", 0.0)
    calls: list[str] = []
    runs = {name: (lambda feed, name=name: calls.append(name) or {}) for name in "ABC"}
    times = bench.interleave(runs, {}, rounds=3, budget_s=60)
    assert calls == list("AAABBBCCC") * 3
    assert {name: len(each) for name, each in times.items()} == {"A": 3, "B": 3, "C": 3}


def test_a_spent_budget_ends_the_rounds_after_the_least_number_of_runs(monkeypatch) -> None:
    monkeypatch.setattr(bench, "BURST_S", 0.0)
    monkeypatch.setattr(bench, "PAUSE_S", 0.0)
    times = bench.interleave({"A": lambda feed: {}}, {}, rounds=100, budget_s=0.0)
    assert len(times["A"]) == LEAST_RUNS


def test_summary_is_in_milliseconds() -> None:
    figures = bench.summary(list(np.arange(1, 101) / 1000))
    assert figures["median_ms"] == figures["p50_ms"] == pytest.approx(50.5)
    assert figures["p95_ms"] == pytest.approx(95.05) and figures["p99_ms"] == pytest.approx(99.01)
    assert figures["min_ms"] == 1.0 and figures["runs"] == 100


def test_geometric_mean() -> None:
    assert bench_report.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert bench_report.geometric_mean([]) is None


def test_report_is_written_with_its_failures(tmp_path, capsys) -> None:
    figures = {
        "median_ms": 2.0, "p95_ms": 3.0, "start_s": 0.1, "taken_memory_mib": 12.0, "equal": False,
        "relative_difference": 0.25,
    }  # fmt: skip
    timed = {"ronn": figures, "onnxruntime": {**figures, "equal": True}, "openvino": {"error": "no such operator"}}
    models = [
        {
            "name": "first",
            "size": "1x3",
            "contestants": timed,
            "onnxruntime_over_ronn": 1.0,
            "openvino_over_ronn": None,
        },
        {"name": "second", "size": "1x3", "unavailable": "npm is not here"},
    ]
    result = {"machine": {"cpu": "some CPU"}, "threads": 1, "quick": False, "models": models}
    bench_report.write(result, tmp_path)
    shown = capsys.readouterr().out
    assert "no such operator" in shown and "npm is not here" in shown and "2.00 (3.00) !" in shown
    assert "2.5e-01 of the largest value" in shown
    assert json.loads((tmp_path / "bench.json").read_text())["models"] == models
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_memory_is_compared_over_the_weights() -> None:
    def entry(name: str, own: float | None, peer: float, weights: float = 100.0) -> dict:
        figures = {"ronn": own, "onnxruntime": peer, "openvino": None}
        return {
            "name": name,
            "contestants": {
                n: {} if taken is None else {"taken_memory_mib": taken, "weights_mib": weights}
                for n, taken in figures.items()
            },
        }

    row = memory_row({"threads": 1, "models": [entry("less", 90.0, 110.0), entry("unknown", None, 1.0)]})
    assert row.met and row.measured == "1 of 1 models"
    row = memory_row({"threads": 1, "models": [entry("less", 1.0, 2.0), entry("more", 160.0, 130.0)]})
    assert row.met is False and row.measured == "1 of 2 models; more 60 MiB, ONNX Runtime 30"
    assert memory_row({"threads": 1, "models": []}).met is None


def test_a_contestant_alone_is_charged_for_its_import(tmp_path) -> None:
    model = tmp_path / "m.onnx"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), model)
    job = tmp_path / "job"
    write_job(
        {"contestant": "ronn", "path": str(model), "threads": 1, "feed": {"x": np.ones(2, np.float32)}, "sizes": {}},
        job,
    )
    found = run_worker("benchmarks.alone", [str(job)], 1, 120.0)
    assert "error" not in found
    assert found["start_s"] == pytest.approx(found["import_s"] + found["load_s"] + found["first_run_s"])
    if "taken_memory_mib" in found:
        assert 5 < found["taken_memory_mib"] < found["peak_memory_mib"]


def test_the_process_of_a_contestant_starts_bare() -> None:
    code = "import sys, benchmarks.alone; print(sorted({'onnx', 'onnxruntime', 'ronn', 'google'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
