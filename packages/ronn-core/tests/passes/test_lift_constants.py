"""lift-constants: every form of Constant becomes a value with data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.lift_constants import lift_constants


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({"value": np.array([1, 2], np.int8)}, np.array([1, 2], np.int8)),
        ({"value_float": 0.5}, np.array(0.5, np.float32)),
        ({"value_floats": [0.5, 1.0]}, np.array([0.5, 1.0], np.float32)),
        ({"value_int": 3}, np.array(3, np.int64)),
        ({"value_ints": [3, 4]}, np.array([3, 4], np.int64)),
        ({"value_string": "a"}, np.array("a", object)),
        ({"value_strings": ["a", "b"]}, np.array(["a", "b"], object)),
    ],
    ids=lambda a: next(iter(a)) if isinstance(a, dict) else "",
)
def test_forms(apply: Any, attributes: dict[str, Any], wanted: np.ndarray) -> None:
    graph = Graph("g")
    made = graph.append(Node("Constant", (), [Value("k")], attributes, version=18))
    user = graph.append(Node("Identity", [made.output], [Value("y")], version=18))
    graph.add_output(user.output)
    apply(lift_constants, graph, compare=False)
    (identity,) = graph
    (value,) = identity.inputs
    assert value is not None and value.data is not None and value.name == "k"
    assert value.data.dtype == wanted.dtype and value.data.shape == wanted.shape
    np.testing.assert_array_equal(value.data, wanted)


def test_constant_that_is_an_output_stays_a_node(apply: Any) -> None:
    text = 'opset {"": 18}\ngraph g() {\n  %k = Constant() {value_float=1.5}\n  return %k\n}\n'
    assert apply(lift_constants, text).ops == ["Constant"]


def test_inside_a_branch(apply: Any) -> None:
    text = """opset {"": 18}
graph g(%c: bool[], %x: f32[2]) {
  %y = If(%c) {
    then_branch=graph () {
      %k = Constant() {value_float=1.5}
      %t = Mul(%x, %k)
      return %t
    },
    else_branch=graph () {
      %t = Neg(%x)
      return %t
    }
  }
  return %y
}
"""
    done = apply(lift_constants, text)
    assert [n.op for n in done.graph.nodes[0].attributes["then_branch"]] == ["Mul"]
