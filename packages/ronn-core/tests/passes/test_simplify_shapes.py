"""simplify-shapes: known integers become constants, reshapes get 0/-1 targets and merge."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.passes.eliminate_dead import eliminate_dead
from ronn.passes.simplify_shapes import simplify_shapes


def text(body: str, shape: str = "N,4,6", outputs: str = "%y") -> str:
    return f'opset {{"": 18}}\ngraph g(%x: f32[{shape}]) {{\n{body}\n  return {outputs}\n}}\n'


def target(done: Any) -> list[int]:
    node = done.graph.nodes[-1]
    assert node.op == "Reshape" and node.inputs[1].data is not None, done.text
    return [int(i) for i in node.inputs[1].data]


def test_static_dims_of_a_symbolic_shape(apply: Any) -> None:
    body = """%s = Shape(%x)
  %i: i64[] = const {1}
  %d = Gather(%s, %i)
  %f = Cast(%d) {to=1}
  %y = Mul(%x, %f)"""
    done = apply(simplify_shapes, text(body))
    assert done.ops == ["Cast", "Mul"]
    assert done.graph.nodes[0].inputs[0].data == 4


def test_whole_static_shape(apply: Any) -> None:
    done = apply(simplify_shapes, text("%s = Shape(%x)\n%y = ConstantOfShape(%s)", "2,3"))
    assert done.ops == ["ConstantOfShape"]


def test_shape_that_is_an_output_stays(apply: Any) -> None:
    done = apply(simplify_shapes, text("%s = Shape(%x)\n%y = ConstantOfShape(%s)", "2,3", "%y, %s"))
    assert done.ops == ["Shape", "ConstantOfShape"]
    assert done.graph.nodes[1].inputs[0].data is not None


HEADS = """%s = Shape(%x)
  %zero: i64[1] = const {0}
  %one: i64[1] = const {1}
  %n = Gather(%s, %zero)
  %k = Gather(%s, %one)
  %a: i64[1] = const {2}
  %b: i64[1] = const {3}
"""


def test_copied_dims_become_zeros(apply: Any) -> None:
    body = HEADS + "%t = Concat(%n, %k, %a, %b) {axis=0}\n%y = Reshape(%x, %t)"
    done = apply([simplify_shapes, eliminate_dead], text(body, "N,K,6"))
    assert done.ops == ["Reshape"]
    assert target(done) == [0, 0, 2, 3]


def test_one_unknown_becomes_minus_one(apply: Any) -> None:
    body = HEADS + "%m = Mul(%n, %k)\n%six: i64[1] = const {6}\n%t = Concat(%m, %six) {axis=0}\n%y = Reshape(%x, %t)"
    done = apply([simplify_shapes, eliminate_dead], text(body, "N,K,6"))
    assert target(done) == [-1, 6]


def test_minus_one_beside_a_dim_that_may_be_zero_is_not_written(apply: Any) -> None:
    body = HEADS + "%m = Mul(%k, %a)\n%t = Concat(%n, %m, %b) {axis=0}\n%y = Reshape(%x, %t)"
    for sizes in ({"N": 3, "K": 5}, {"N": 0, "K": 5}):
        done = apply([simplify_shapes, eliminate_dead], text(body, "N,K,6"), sizes=sizes)
        assert "Concat" in done.ops


def test_two_unknowns_stay(apply: Any) -> None:
    body = HEADS + "%m = Mul(%n, %a)\n%l = Mul(%k, %b)\n%t = Concat(%m, %l) {axis=0}\n%y = Reshape(%x, %t)"
    assert "Concat" in apply(simplify_shapes, text(body, "N,K,6")).ops


@pytest.mark.parametrize(
    ("first", "after", "ops", "merged"),
    [
        ("%a: i64[2] = const {-1, 24}\n%r = Reshape(%x, %a)", "-1, 6", 2, True),
        ("%a: i64[1] = const {1}\n%r = Unsqueeze(%x, %a)", "-1, 24", 2, True),
        ("%r = Flatten(%x)", "-1, 4, 6", 3, True),
        ("%a: i64[2] = const {-1, 24}\n%r = Reshape(%x, %a)", "0, 4, 6", 3, True),
        ("%a: i64[2] = const {-1, 6}\n%r = Reshape(%x, %a)", "0, 6", 2, False),
    ],
)
def test_chains_of_reshapes_merge(apply: Any, first: str, after: str, ops: int, merged: bool) -> None:
    body = f"{first}\n%t: i64[{ops}] = const {{{after}}}\n%y = Reshape(%r, %t)"
    done = apply(simplify_shapes, text(body))
    assert (len(done.ops) == 1) is merged


def test_first_reshape_that_is_used_elsewhere_stays(apply: Any) -> None:
    body = "%a: i64[2] = const {-1, 24}\n%r = Reshape(%x, %a)\n%t: i64[2] = const {-1, 6}\n%y = Reshape(%r, %t)"
    done = apply(simplify_shapes, text(body, outputs="%y, %r"))
    assert done.ops == ["Reshape", "Reshape"]
    assert done.graph.nodes[1].inputs[0] is done.graph.inputs[0]
