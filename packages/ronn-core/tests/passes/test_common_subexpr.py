"""common-subexpr: equal computations and constants are merged, different ones are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.passes.common_subexpr import common_subexpr


def text(body: str, outputs: str = "%y") -> str:
    return f'opset {{"": 18}}\ngraph g(%x: f32[2,4]) {{\n{body}  return {outputs}\n}}\n'


def test_chains_merge(apply: Any) -> None:
    body = "  %a = Exp(%x)\n  %b = Exp(%x)\n  %c = Neg(%a)\n  %d = Neg(%b)\n  %y = Add(%c, %d)\n"
    assert apply(common_subexpr, text(body)).ops == ["Exp", "Neg", "Add"]


@pytest.mark.parametrize(
    "body",
    [
        "  %a = LeakyRelu(%x) {alpha=0.1}\n  %b = LeakyRelu(%x) {alpha=0.2}\n",
        "  %a = Elu(%x) {alpha=0.0}\n  %b = Elu(%x) {alpha=-0.0}\n",
        "  %z: f32[] = const {1.0}\n  %a = Sub(%x, %z)\n  %b = Sub(%z, %x)\n",
        "  %a = Softmax(%x)\n  %b = Softmax:11(%x)\n",
    ],
)
def test_different_nodes_stay(apply: Any, body: str) -> None:
    done = apply(common_subexpr, text(body + "  %y = Add(%a, %b)\n"), compare=False)
    assert not done.changed


def test_random_nodes_stay(apply: Any) -> None:
    body = "  %a = RandomNormalLike(%x)\n  %b = RandomNormalLike(%x)\n  %y = Add(%a, %b)\n"
    assert not apply(common_subexpr, text(body), compare=False).changed


def test_two_outputs_stay_two_values(apply: Any) -> None:
    done = apply(common_subexpr, text("  %a = Exp(%x)\n  %b = Exp(%x)\n", "%a, %b"))
    assert done.ops == ["Exp", "Identity"]
    assert [v.name for v in done.graph.outputs] == ["a", "b"]


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ("f32[2] = const {1.0, 2.0}", "f32[2] = const {1.0, 2.0}", True),
        ("f32[1] = const {0.0}", "f32[1] = const {-0.0}", False),
        ("f32[1] = const {0x0000c07f}", "f32[1] = const {0x0100c07f}", False),
        ("f32[1] = const {1.0}", "f32[] = const {1.0}", False),
        ("i32[1] = const {1}", "i64[1] = const {1}", False),
        ('str[1] = const {"a"}', 'str[1] = const {"a"}', True),
    ],
)
def test_constants_by_content(apply: Any, one: str, other: str, merged: bool) -> None:
    body = f"  %c: {one}\n  %d: {other}\n  %a = Identity(%c)\n  %b = Identity(%d)\n"
    done = apply(common_subexpr, text(body, "%a, %b"), feeds={"x": np.zeros((2, 4), np.float32)})
    first, second = done.graph.nodes
    assert (first.inputs == second.inputs) is merged


def test_large_constants_are_equal_when_they_are_the_same_memory(apply: Any) -> None:
    data = np.arange(400_000, dtype=np.float32).reshape(100, 4000)
    graph = Graph("g")
    x = graph.add_input("x", TensorType(DType.FLOAT32, (2, 100)))
    values = [graph.constant(d, n) for d, n in ((data, "a"), (data, "b"), (data.copy(), "c"))]
    for i, value in enumerate(values):
        graph.add_output(graph.append(Node("MatMul", [x, value], [Value(f"y{i}")], version=18)).output)
    done = apply(common_subexpr, graph)
    assert done.ops == ["MatMul", "Identity", "MatMul"]


BRANCH = """  %s = ReduceMax(%x) {keepdims=0}
  %z: f32[] = const {0.0}
  %c = Greater(%s, %z)
  %h = Exp(%x)
  %y = If(%c) {
    then_branch=graph () {
      %z: f32[] = const {0.0}
      %i = Exp(%x)
      %t = Add(%i, %z)
      return %t
    },
    else_branch=graph () {
      %i = Sqrt(%h)
      return %i
    }
  }
  %w = Sqrt(%h)
"""


def test_inner_scopes_use_what_outer_ones_have_but_not_the_reverse(apply: Any) -> None:
    done = apply(common_subexpr, text(BRANCH, "%y, %w"))
    branch = done.graph.nodes[3]
    (add,) = branch.attributes["then_branch"]
    assert add.inputs[0] is done.graph.nodes[2].output
    assert add.inputs[1] is done.graph.initializers["z"]
    assert [n.op for n in branch.attributes["else_branch"]] == ["Sqrt"]
    assert done.ops[-1] == "Sqrt"
