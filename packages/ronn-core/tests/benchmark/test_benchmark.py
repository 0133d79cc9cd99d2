"""What a benchmark says: figures, text, JSON, changes, what disturbed it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn.benchmark import Benchmark, Row, machine
from ronn.benchmark.machine import Counters, conditions, disturbances, process_memory
from ronn.benchmark.measure import default_threads
from ronn.benchmark.peers import agreement
from ronn.benchmark.report import bars, changes, incomparable, table
from ronn.errors import InputError, OptionError


def model(path=None):
    graph = h.make_graph(
        [h.make_node("Relu", ["x"], ["y"], "relu")],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["batch", 8])],
        [h.make_tensor_value_info("y", T.FLOAT, ["batch", 8])],
    )
    proto = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    if path is not None:
        path.write_bytes(proto.SerializeToString())
    return proto


def row(times, **changed):
    about = {"who": "ronn", "sizes": "", "threads": 1, "callers": 1, "items": 1, "wall": sum(times), **changed}
    return Row.of(times=times, **about)


def made(rows, **changed):
    about = {"model": "m", "signature": "x", "starts": [], "memory": None, "machine": {}, "versions": {"ronn": "1"}}
    return Benchmark(rows=rows, **{**about, **changed})


# --- figures


@given(st.lists(st.floats(1e-7, 10), min_size=1, max_size=300), st.integers(1, 64))
def test_figures_of_a_row(times, items):
    found = row(times, items=items)
    assert found.runs == len(times)
    assert found.minimum <= found.median_low <= found.p50 * (1 + 1e-9) and found.p50 <= found.median_high * (1 + 1e-9)
    assert found.minimum <= found.p50 <= found.p95 <= found.p99 <= found.maximum
    assert sum(found.histogram) <= found.runs and found.histogram[0] >= 1
    assert found.items_per_second == pytest.approx(items * len(times) / sum(times))


def test_bars_show_whatever_is_there():
    assert bars([0, 1, 1000]) == " ▁█" and bars([]) == "" and bars([0]) == " "


def test_threads_to_try():
    assert default_threads(1) == [1] and default_threads(6) == [1, 2, 4, 6] and default_threads(8) == [1, 2, 4, 8]


def test_agreement_with_another_runtime():
    a = {"y": np.array([1.0, -4.0], np.float32)}
    same = agreement(a, {"y": np.array([1.0, -4.0000004], np.float32)})
    assert same.equal and 0 < same.relative < 1e-6 and "the same, to" in str(same)
    other = agreement(a, {"y": np.array([1.0, -2.0], np.float32)})
    assert not other.equal and other.relative == 1.0 and str(other).startswith("differ: ")
    assert not agreement(a, {"z": a["y"]}).equal


# --- measuring


def test_a_session_measures_itself():
    session = ronn.Session(model(), providers=["reference"])
    found = session.benchmark(np.ones((4, 8), np.float32), seconds=0.01, threads=[1], callers=[1, 2])
    assert [(r.who, r.threads, r.callers) for r in found.rows] == [("ronn", 1, 1), ("ronn", 1, 2)]
    assert all(r.runs >= 3 and 0 < r.p50 < 1 for r in found.rows)
    assert found.signature == "x float32[4, 8]" and found.versions["ronn"] == ronn.__version__
    assert found.memory is not None and found.memory.peak >= 0
    assert [s.who for s in found.starts] == ["ronn"] and found.starts[0].load is None
    assert session.benchmark([np.ones((4, 8), np.float32)], seconds=0.01, threads=[1], callers=[1]).starts == []
    assert "P99" in str(found) and "reference" not in str(found)


def test_sessions_that_a_benchmark_opens_it_closes(monkeypatch):
    closed = []
    session = ronn.Session(model(), providers=["reference"], options={"threads": 1})
    close = ronn.Session.close
    monkeypatch.setattr(ronn.Session, "close", lambda self: (closed.append(self.options.threads), close(self)))
    found = session.benchmark(np.ones((1, 8), np.float32), seconds=0.01, threads=[1, 3], callers=[1])
    assert [r.threads for r in found.rows] == [1, 3] and closed == [3]
    assert session.run(np.ones((1, 8), np.float32))["y"].shape == (1, 8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threads": [0]}, "threads=\\[0\\]"),
        ({"callers": []}, "callers"),
        ({"seconds": 0}, "seconds=0"),
        ({"against": ["onnxruntim"]}, "did you mean 'onnxruntime'"),
        ({"against": ["tensorflow"]}, "known: onnxruntime"),
    ],
)
def test_what_cannot_be_measured_is_told(wrong, said):
    session = ronn.Session(model(), providers=["reference"])
    with pytest.raises(OptionError, match=said):
        session.benchmark(np.ones((1, 8), np.float32), **wrong)


def test_against_onnxruntime(tmp_path):
    pytest.importorskip("onnxruntime", reason="the other runtime is not installed")
    model(tmp_path / "m.onnx")
    session = ronn.Session(tmp_path / "m.onnx", providers=["reference"])
    feed = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    found = session.benchmark(feed, seconds=0.01, threads=[1], callers=[1], against=["onnxruntime"])
    assert [r.who for r in found.rows] == ["ronn", "onnxruntime"]
    assert found.agreements["onnxruntime"].equal and {s.who for s in found.starts} == {"ronn", "onnxruntime"}
    assert "against onnxruntime" in str(found) and "times as" in str(found)
    in_memory = ronn.Session(model(), providers=["reference"])
    found = in_memory.benchmark(feed, seconds=0.01, threads=[1], callers=[1], against=["onnxruntime"])
    assert len(found.rows) == 2 and found.versions["onnxruntime"]
    found.save(tmp_path / "b.json")
    assert Benchmark.load(tmp_path / "b.json").agreements == found.agreements


# --- text and JSON


def test_columns_that_say_nothing_are_left_out():
    columns, rows = table(made([row([0.1, 0.2])]))
    assert columns[0] == "threads" and "items/s" not in columns and "runtime" not in columns
    columns, rows = table(made([row([0.1], items=8, sizes="n=8"), row([0.1], who="onnxruntime")]))
    assert {"runtime", "sizes", "items/s"} <= set(columns) and all(len(r) == len(columns) for r in rows)


def test_json_round_trips(tmp_path):
    session = ronn.Session(model(), providers=["reference"])
    found = session.benchmark(np.ones((2, 8), np.float32), seconds=0.01, threads=[1], callers=[1])
    found.save(tmp_path / "b.json")
    again = Benchmark.load(tmp_path / "b.json")
    assert list(again.rows) == list(found.rows) and again.memory == found.memory
    assert list(again.starts) == list(found.starts) and list(again.notes) == list(found.notes)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1}', '{"format": 99}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"other\.json"):
        Benchmark.load(path)
    with pytest.raises(InputError, match=r"absent\.json"):
        Benchmark.load(tmp_path / "absent.json")


def test_changes_larger_than_the_noise_are_told_apart():
    steady = [0.010 + 0.0001 * (i % 7) for i in range(200)]
    before = made([row(steady), row(steady, threads=2)])
    now = made([row([t / 2 for t in steady]), row([t * 1.001 for t in steady], threads=2), row(steady, threads=4)])
    halved, same = changes(before, now)
    assert halved.certain and halved.ratio == pytest.approx(2) and "2.00 times as fast" in halved.verdict
    assert not same.certain and "noise" in same.verdict
    slower = changes(now, before)[0]
    assert "2.00 times as slow" in slower.verdict


def test_what_else_changed_is_told():
    a = made([], machine={"name": "A"}, versions={"ronn": "1"})
    b = made([], machine={"name": "B"}, versions={"ronn": "2"}, model="n", signature="z")
    assert len(incomparable(a, b)) == 4 and incomparable(a, a) == []


# --- the machine


def counters(**changed):
    return Counters(**{"busy": 10.0, "stolen": 0.0, "whole": 100.0, "own": 5.0, "throttled": 0, "throttled_s": 0.0,
                       **changed})  # fmt: skip


def test_a_quiet_machine_needs_no_words():
    after = counters(busy=19.9, whole=110.0, own=14.9)
    assert disturbances(counters(), after) == []
    assert disturbances(counters(busy=None, whole=None), counters(busy=None, whole=None)) == []


def test_what_disturbed_is_told():
    busy = disturbances(counters(), counters(busy=19.0, whole=110.0, own=9.0))
    assert len(busy) == 1 and "50%" in busy[0]
    assert "hypervisor" in disturbances(counters(), counters(stolen=1.0, whole=110.0))[0]
    held = disturbances(counters(), counters(throttled=3, throttled_s=0.25))
    assert "3 times" in held[0] and "0.25 s" in held[0]


def test_counters_are_read(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (groups / "inner").mkdir(parents=True)
    (proc / "stat").write_text("cpu 100 0 100 700 50 0 0 50 0 0\ncpu0 1\n")
    (proc / "self" / "cgroup").write_text("0::/inner\n")
    (groups / "inner" / "cpu.stat").write_text("nr_periods 4\nnr_throttled 2\nthrottled_usec 1500000\n")
    found = Counters.now(proc, groups)
    assert found.busy is not None and found.whole == pytest.approx(5 * found.busy) and found.stolen == found.busy / 4
    assert (found.throttled, found.throttled_s) == (2, 1.5)
    nothing = Counters.now(tmp_path, tmp_path)
    assert nothing.whole is None and nothing.throttled is None


def test_conditions_of_the_clock(tmp_path, monkeypatch):
    quiet = {"number": 4, "sources": {"logical processors": 4.0, "cgroup quota": 1.5}}
    monkeypatch.setattr(machine.host, "threads", lambda: quiet)
    (tmp_path / "intel_pstate").mkdir()
    (tmp_path / "intel_pstate" / "no_turbo").write_text("0\n")
    (tmp_path / "cpu0" / "cpufreq").mkdir(parents=True)
    (tmp_path / "cpu0" / "cpufreq" / "scaling_governor").write_text("powersave\n")
    text = " ".join(conditions(tmp_path))
    assert "1.5 of 4 processors" in text and "Turbo is on" in text and "powersave" in text
    quiet["sources"].pop("cgroup quota")
    assert conditions(tmp_path / "absent") == []


def test_memory_of_this_process():
    now, peak = process_memory()
    assert 0 <= now <= peak
