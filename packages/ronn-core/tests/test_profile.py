"""Profiles: what is counted, and what is written."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
from ronn.errors import OptionError
from ronn.ir.graph import Node, Value
from ronn.ir.types import DType, TensorType
from ronn.plan.plan import Plan
from ronn.profile import profile_plan
from ronn.profile.report import html, time_text
from ronn.profile.work import flops_of
from ronn.provider import Call, Ceilings, Engine, KernelCall, NativeWork


def value(name, shape, constant=False):
    return Value(name, TensorType(DType.FLOAT32, shape), data=np.zeros(shape, np.float32) if constant else None)


def model():
    nodes = [
        h.make_node("MatMul", ["x", "w"], ["m"], "product"),
        h.make_node("Tanh", ["m"], ["t"], "bend</script>"),
        h.make_node("Reshape", ["t", "shape"], ["y"], "form"),
    ]
    weights = [("w", np.ones((8, 16), np.float32)), ("shape", np.array([-1], np.int64))]
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N", 8])],
        [h.make_tensor_value_info("y", T.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in weights],
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.fixture(scope="module")
def profile():
    session = ronn.Session(model(), providers=["reference"], options={"optimization": "none"})
    return session.profile(np.ones((4, 8), np.float32), runs=5)


def test_every_kernel_has_its_time(profile):
    assert [(k.ops, k.node, k.kind, k.calls) for k in profile.kernels] == [
        ("MatMul", "product", "python", 1),
        ("Tanh", "bend</script>", "python", 1),
        ("Reshape", "form", "python", 1),
    ]
    assert all(0 < k.seconds < 1 for k in profile.kernels)
    assert [k.flops for k in profile.kernels] == [2 * 4 * 8 * 16, 64, 0]
    assert profile.kernels[1].nbytes == 2 * 4 * 16 * 4
    assert profile.runs == 5 and profile.signature == "f32[4,8]"
    assert profile.native == 0 and profile.functions == pytest.approx(sum(k.seconds for k in profile.kernels))
    assert 0 < profile.fastest <= profile.wall
    assert profile.accounted == pytest.approx(profile.functions + profile.python)


def test_the_timeline_is_in_order(profile):
    assert [s.kernel for s in profile.spans] == [0, 1, 2]
    ends = [s.start + s.seconds for s in profile.spans]
    assert all(s.start >= end for s, end in zip(profile.spans[1:], ends, strict=False))


def test_the_graph_knows_who_follows_whom(profile):
    assert [n.inputs for n in profile.graph] == [(), (0,), (1,)]
    assert profile.graph[0].signature == "f32[4,16]" and profile.graph[0].nbytes == 256


def test_runs_are_as_ever_afterwards():
    session = ronn.Session(model(), providers=["reference"])
    x = np.ones((4, 8), np.float32)
    before = session.run(x)["y"]
    session.profile(x, runs=2)
    np.testing.assert_array_equal(session.run(x)["y"], before)
    assert all(p.recorder is None for _, p in session._base.plans())
    with pytest.raises(OptionError, match="at least one"):
        session.profile(x, runs=0)


def test_bodies_of_loops_are_seen_and_not_counted_twice():
    body = h.make_graph(
        [h.make_node("Identity", ["c"], ["d"]), h.make_node("Exp", ["a"], ["b"])],
        "body",
        [h.make_tensor_value_info(n, t, s) for n, t, s in (("i", T.INT64, []), ("c", T.BOOL, []), ("a", T.FLOAT, [9]))],
        [h.make_tensor_value_info("d", T.BOOL, []), h.make_tensor_value_info("b", T.FLOAT, [9])],
    )
    graph = h.make_graph(
        [h.make_node("Loop", ["n", "", "x"], ["y"], body=body)],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, [9])],
        [h.make_tensor_value_info("y", T.FLOAT, None)],
        [numpy_helper.from_array(np.array(6, np.int64), "n")],
    )
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9).SerializeToString()
    found = ronn.Session(made, providers=["reference"]).profile(np.zeros(9, np.float32), runs=3)
    by_op = {k.ops: k for k in found.kernels}
    assert by_op["Exp"].calls == 6 and by_op["Loop"].calls == 1
    assert next(n for n in found.graph if n.ops == "Exp").depth == 1
    assert sum(k.seconds for k in found.kernels) < 2 * found.wall


class Clockwork(Engine):
    """Takes 100 ticks a kernel; a tick is a microsecond."""

    threads = 3

    def launch(self, steps, clock=None):
        if clock is not None:
            clock[:] = np.arange(len(clock)) * 100

    @property
    def tick(self):
        return 1e-6

    def ceilings(self):
        return Ceilings(3, 1e9, 1e8, 1e9)


def test_native_kernels_are_timed_by_their_engine():
    x, y, z = value("x", (5, 20)), value("y", (5, 20)), value("z", (5, 20))
    engine = Clockwork()

    def call(source, sink, *kernels):
        return Call(
            None, (source,), (sink,), (Node("Exp", [source], [sink], version=1),), native=NativeWork(engine, kernels)
        )

    calls = [
        call(x, y, KernelCall("a", 0, [], 4, flops=50_000, nbytes=10), KernelCall("b", 0, [])),
        call(y, z, KernelCall("c", 0, [])),
    ]
    plan = Plan(calls, [x], [z])
    feed = np.zeros((5, 20), np.float32)
    found = profile_plan(plan, lambda: plan.run([feed]), model="m", signature="s", runs=2)
    assert [(k.name, k.call, k.shares, k.flops) for k in found.kernels] == [
        ("a", 0, 4, 50_000),
        ("b", 0, 1, 0),
        ("c", 1, 1, 100),
    ]
    assert [k.seconds for k in found.kernels] == pytest.approx([1e-4] * 3)
    assert found.kernels[0].gflops == pytest.approx(0.5)
    assert found.of_peak(found.kernels[0]) == pytest.approx(0.5)
    assert found.threads == 3 and found.native == pytest.approx(3e-4)


def test_arithmetic_of_convolutions():
    def call(op, x, w, y, **attributes):
        ins, out = [value("x", x), value("w", w, constant=True)], value("y", y)
        return Call(None, tuple(ins), (out,), (Node(op, ins, [out], attributes, version=1),))

    assert flops_of(call("Conv", (1, 3, 9, 9), (8, 3, 3, 3), (1, 8, 7, 7))) == 2 * 8 * 49 * 27
    assert flops_of(call("Conv", (1, 8, 9, 9), (8, 1, 3, 3), (1, 8, 7, 7), group=8)) == 2 * 8 * 49 * 9
    assert flops_of(call("ConvTranspose", (1, 4, 5, 5), (4, 2, 2, 2), (1, 2, 6, 6))) == 2 * 4 * 25 * 8
    assert flops_of(call("BlockedConv", (1, 1, 9, 9, 16), (32, 16, 1, 1), (1, 2, 9, 9, 16))) == 2 * 32 * 81 * 16


def test_times_in_words():
    assert [time_text(t) for t in (2.5, 0.0123, 4.2e-5, 3e-8)] == ["2.5 s", "12.3 ms", "42 µs", "30 ns"]


# --- what is written


def test_text_has_a_line_a_kernel(profile):
    lines = str(profile).splitlines()
    assert "MatMul" in "".join(lines) and lines[0].endswith("1 threads")
    assert sum("product" in line for line in lines) == 1


def test_the_trace_is_one_that_viewers_read(profile, tmp_path):
    profile.save(tmp_path / "run.trace.json")
    events = json.loads((tmp_path / "run.trace.json").read_text())["traceEvents"]
    work = [e for e in events if e["ph"] == "X"]
    assert [e["name"] for e in work] == ["MatMul", "Tanh", "Reshape"]
    assert all(e["dur"] > 0 and e["pid"] == 1 and e["tid"] == 2 for e in work)


def test_json_round_trips(profile, tmp_path):
    profile.save(tmp_path / "run.json")
    data = json.loads((tmp_path / "run.json").read_text())
    assert [k["ops"] for k in data["kernels"]] == ["MatMul", "Tanh", "Reshape"]
    assert data["seconds"] == profile.wall


def test_the_page_holds_the_profile(profile, tmp_path):
    profile.save(tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert page == html(profile)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    assert data["graph"][1]["label"] == "bend</script>"
    assert [k["ops"] for k in data["kernels"]] == ["MatMul", "Tanh", "Reshape"]
