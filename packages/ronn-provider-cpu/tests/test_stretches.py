"""Native calls and calls of Python functions in few stretches of either kind."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_support import latest_plan
from onnx import TensorProto, helper

import ronn
from ronn.ir.graph import Value
from ronn.ir.types import DType, TensorType
from ronn.provider.contract import Call
from ronn_provider_cpu.stretches import in_few_stretches

NATIVE: Any = object()


def call(name: str, inputs: list[Value], native: bool, size: int = 1) -> Call:
    out = Value(name, TensorType(DType.FLOAT32, (size,)))
    return Call(print, tuple(inputs), (out,), (), native=NATIVE if native else None)


def changes(calls: Any) -> int:
    kinds = [c.native is None for c in calls]
    return sum(a != b for a, b in pairwise(kinds))


@given(
    kinds=st.lists(st.booleans(), max_size=12), edges=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11))),
    size=st.sampled_from([1, 1 << 20]),
)  # fmt: skip
def test_orders(kinds: list[bool], edges: list[tuple[int, int]], size: int) -> None:
    calls: list[Call] = []
    for i, native in enumerate(kinds):
        inputs = [calls[a].outputs[0] for a, b in edges if b == i and a < i]
        calls.append(call(f"v{i}", inputs, native, size))
    made = list(in_few_stretches(calls))
    assert sorted(map(id, made)) == sorted(map(id, calls))
    done: set[Value] = set()
    for c in made:
        assert all(v in done for v in c.inputs)
        done.update(c.outputs)
    assert changes(made) <= changes(calls)
    if 4 * size * len(calls) > 4 << 20:
        assert made == calls


def test_what_can_wait_waits() -> None:
    a = call("a", [], True)
    b = call("b", [a.outputs[0]], False)
    c = call("c", [a.outputs[0]], True)
    d = call("d", [c.outputs[0]], False)
    assert in_few_stretches([a, b, c, d]) == [a, c, b, d]


@pytest.mark.parametrize("rows", [1, 5])
def test_a_model_of_both_kinds(rows: int) -> None:
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("StringConcat", ["s", "s"], ["t"]),
        helper.make_node("Exp", ["a"], ["y"]),
        helper.make_node("StringConcat", ["t", "s"], ["u"]),
        helper.make_node("Sqrt", ["y"], ["z"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
        helper.make_tensor_value_info("s", TensorProto.STRING, ["n"]),
    ]
    outputs = [helper.make_empty_tensor_value_info(n) for n in ("z", "u")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    )
    session = ronn.Session(model.SerializeToString(), providers=["cpu"])
    x = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
    z, u = session.run({"x": x, "s": np.array(["ab"] * rows, object)})
    np.testing.assert_allclose(z, np.sqrt(np.exp(np.abs(x))), rtol=1e-6)
    assert u.tolist() == ["ababab"] * rows
    assert len(latest_plan(session).segments) == 1
