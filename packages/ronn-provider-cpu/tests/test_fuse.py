"""Groups of nodes that become one loop: which they are, in which order they run, and that they compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import latest_plan

import ronn

RNG = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape) * 2, np.float32)


def fused(body: str, feeds: Mapping[str, np.ndarray], tolerance: float = 2e-5) -> list[str]:
    """The groups of the model ``body`` (ONNX text without its head), as ``"Add Relu"``, in the order in which they
    run; its outputs are held against the reference provider's."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["":21]>\n{body}').SerializeToString()
    options: Any = {"optimization": "none"}
    session = ronn.Session(model, providers=["cpu"], options=options)
    got = list(session.run(dict(feeds)))
    want = list(ronn.Session(model, providers=["reference"], options=options).run(dict(feeds)))
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=1e-5)
    again = list(session.run(dict(feeds)))
    for g, a in zip(got, again, strict=True):
        np.testing.assert_array_equal(g, a)
    return [" ".join(n.op for n in call.nodes) for call in latest_plan(session).calls]


def test_a_chain_is_one_loop() -> None:
    body = "g (float[3,50] x, float[50] b) => (float[3,50] y) { a=Add(x,b) s=Sigmoid(a) y=Mul(a,s) }"
    assert fused(body, {"x": floats(3, 50), "b": floats(50)}) == ["Add Sigmoid Mul"]


def test_values_used_elsewhere_are_outputs_too() -> None:
    body = """g (float[3,50] x) => (float[3,50] y, float[3,50] a, float[50,3] t)
        { a=Neg(x) s=Exp(a) t=Transpose(s) y=Mul(a,s) }"""
    assert fused(body, {"x": floats(3, 50)}) == ["Neg Exp Mul", "Transpose"]


def test_what_must_run_between_keeps_groups_apart() -> None:
    body = """g (float[8,8] x) => (float[8,8] y) { a=Neg(x) t=Transpose(a) b=Exp(a) c=Mul(b,t) y=Relu(c) }"""
    assert fused(body, {"x": floats(8, 8)}) == ["Neg Exp", "Transpose", "Mul Relu"]


def test_smaller_operands_are_made_once() -> None:
    body = "g (float[50] b, float[3,50] x) => (float[3,50] y) { e=Exp(b) y=Add(x,e) }"
    assert fused(body, {"b": floats(50), "x": floats(3, 50)}) == ["Exp", "Add"]


def test_before_and_behind_a_normalisation() -> None:
    body = """g (float[20,50] x, float[20,50] r, float[50] s) => (float[20,50] y, float[20,50] a)
        { a=Add(x,r) z=LayerNormalization(a,s,s) w=Relu(z) y=Add(w,x) }"""
    feeds = {"x": floats(20, 50), "r": floats(20, 50), "s": floats(50)}
    assert fused(body, feeds) == ["Add LayerNormalization Relu Add"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_around_a_softmax(axis: int) -> None:
    body = f"""g (float[9,20,30] x, float[30] m) => (float[9,20,30] y)
        {{ a=Mul(x,x) b=Add(a,m) z=Softmax<axis={axis}>(b) y=Mul(z,x) }}"""
    assert fused(body, {"x": floats(9, 20, 30), "m": floats(30)}) == ["Mul Add Softmax Mul"]


def test_a_producer_beside_the_softmax_is_still_made() -> None:
    body = """g (float[20,50] x) => (float[20,50] y, float[20,50] e)
        { a=Neg(x) e=Exp(a) z=Softmax(a) y=Mul(z,e) }"""
    assert fused(body, {"x": floats(20, 50)}) == ["Neg Exp Softmax Mul"]


@pytest.mark.parametrize("keepdims", [0, 1])
def test_around_a_reduction(keepdims: int) -> None:
    shape = "20,1" if keepdims else "20"
    body = f"""g (float[20,50] x, float[{shape}] q) => (float[{shape}] y, float[20,50] e) <int64[1] ax={{1}}>
        {{ e=Exp(x) f=Mul(x,e) z=ReduceMean<keepdims={keepdims}>(f,ax) w=Relu(z) y=Mul(w,q) }}"""
    feeds = {"x": floats(20, 50), "q": floats(*((20, 1) if keepdims else (20,)))}
    assert fused(body, feeds) == ["Exp Mul ReduceMean Relu Mul"]


def test_a_serial_reduction_leaves_elementwise_work_to_all_threads() -> None:
    body = "g (float[300,300] x) => (float y) { e=Exp(x) y=ReduceSum<keepdims=0>(e) }"
    assert fused(body, {"x": floats(300, 300)}, 1e-4) == ["Exp", "ReduceSum"]
    body = "g (float[30,30] x) => (float y) { e=Exp(x) y=ReduceSum<keepdims=0>(e) }"
    assert fused(body, {"x": floats(30, 30)}, 1e-4) == ["Exp ReduceSum"]
    body = "g (float[4,30000] x) => (float[4,30000] y) { e=Tanh(x) y=LogSoftmax(e) }"
    assert fused(body, {"x": floats(4, 30000)}, 1e-4) == ["Tanh", "LogSoftmax"]


def test_second_outputs_of_a_normalisation() -> None:
    body = """g (float[20,50] x, float[50] s) => (float[20,50] y, float[20,1] m, float[20,1] i)
        { a=Neg(x) z, m, i=LayerNormalization(a,s) y=Relu(z) }"""
    assert fused(body, {"x": floats(20, 50), "s": floats(50)}) == ["Neg LayerNormalization Relu"]


def test_types_change_inside_a_loop() -> None:
    body = """g (float[7,33] x, int64[33] k) => (float[7,33] y, bool[7,33] big)
        { i=Cast<to=7>(x) j=Add(i,k) big=Greater(j,k) f=Cast<to=1>(j) y=Where(big,f,x) }"""
    feeds = {"x": floats(7, 33), "k": RNG.integers(-5, 5, 33)}
    assert fused(body, feeds) == ["Cast Add Greater Cast Where"]


def test_halves_are_computed_wide_in_a_loop() -> None:
    body = "g (float16[4,40] x) => (float16[4,40] y) { a=Neg(x) b=Softmax(a) y=Relu(b) }"
    (group,) = fused(body, {"x": floats(4, 40).astype(np.float16)}, 2e-3)
    assert {"Neg", "Softmax", "Relu"} <= set(group.split())


def test_long_chains_are_cut() -> None:
    steps = "".join(f" v{i + 1}=Neg(v{i})" for i in range(40))
    groups = fused(f"g (float[5,9] v0) => (float[5,9] v40) {{{steps} }}", {"v0": floats(5, 9)})
    assert sum(len(g.split()) for g in groups) == 40
    assert max(len(g.split()) for g in groups) == 24


def test_a_group_that_nobody_wants_anything_of() -> None:
    fused(
        "g (float[8,8] x) => (float[8,8] v1, float[8,8] v3) { v0=Neg(x) v1=Neg(x) v2=Neg(v0) v3=Neg(x) }",
        {"x": floats(8, 8)},
    )


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_graph_of_small_nodes(data: st.DataObject) -> None:
    """Graphs of elementwise nodes, softmax and transposes on square matrices: groups run in an order that is right."""
    names, lines = ["x", "r"], []
    for i in range(data.draw(st.integers(3, 10))):
        op = data.draw(st.sampled_from(["Neg", "Tanh", "Add", "Mul", "Softmax", "Transpose", "Max"]))
        arity = 2 if op in ("Add", "Mul", "Max") else 1
        args = [data.draw(st.sampled_from(names)) for _ in range(arity)]
        lines.append(f"v{i}={op}({','.join(args)})")
        names.append(f"v{i}")
    outputs = {names[-1], data.draw(st.sampled_from(names[2:]))}
    shown = ", ".join(f"float[8,8] {n}" for n in sorted(outputs))
    fused(
        f"g (float[8,8] x, float[8,8] r) => ({shown}) {{ {' '.join(lines)} }}",
        {"x": floats(8, 8) / 2, "r": floats(8, 8) / 2}, 1e-3,
    )  # fmt: skip
