"""push-transposes: pairs cancel, also through other operators; Gemm takes them as flags."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.passes.push_transposes import push_transposes

TO, BACK = "{perm=[0, 2, 3, 1]}", "{perm=[0, 3, 1, 2]}"


def text(body: str, inputs: str = "%x: f32[N,4,5,6]", opset: int = 18, outputs: str = "%y") -> str:
    return f'opset {{"": {opset}}}\ngraph g({inputs}) {{\n{body}\n  return {outputs}\n}}\n'


def count(done: Any) -> int:
    return sum(op == "Transpose" for op in done.ops)


def test_pair_cancels(apply: Any) -> None:
    done = apply(push_transposes, text(f"%a = Transpose(%x) {TO}\n%b = Transpose(%a) {BACK}\n%y = Neg(%b)"))
    assert done.ops == ["Neg"]


def test_pair_becomes_one(apply: Any) -> None:
    done = apply(push_transposes, text(f"%a = Transpose(%x) {TO}\n%y = Transpose(%a) {TO}"))
    assert done.ops == ["Transpose"] and done.graph.nodes[0].attributes["perm"] == [0, 3, 1, 2]


THROUGH = {
    "unary": "%m = Relu(%a)\n",
    "chain": "%m1 = Sigmoid(%a)\n%m = Cast(%m1) {to=1}\n",
    "scalar constant": "%c: f32[] = const {2.0}\n%m = Mul(%c, %a)\n",
    "constant of full rank": "%c: f32[1,1,1,4] = const {1.0, 2.0, 3.0, 4.0}\n%m = Add(%a, %c)\n",
    "constant of lower rank": "%c: f32[4] = const {1.0, 2.0, 3.0, 4.0}\n%m = Mul(%a, %c)\n",
    "gate": "%s = Sigmoid(%a)\n%r = ReduceMean:17(%s) {axes=[1, 2]}\n%m = Relu(%r)\n",
    "Softmax": "%m = Softmax(%a) {axis=-1}\n",
    "Pad": "%p: i64[8] = const {0, 1, 2, 0, 0, 3, 0, 1}\n%m = Pad(%a, %p)\n",
    "reduction by input": "%x1: i64[2] = const {1, -1}\n%m = ReduceMax(%a, %x1)\n",
}


@pytest.mark.parametrize("body", THROUGH.values(), ids=THROUGH)
def test_cancels_through(apply: Any, body: str) -> None:
    source = text(f"%a = Transpose(%x) {TO}\n{body}%y = Transpose(%m) {BACK}")
    done = apply(push_transposes, source, rtol=1e-6)  # sums in another order
    assert count(done) == 0
    assert done.graph.outputs[0].name == "y"


def test_two_sides_of_an_addition(apply: Any) -> None:
    body = f"%a = Transpose(%x) {TO}\n%b = Transpose(%z) {TO}\n%e = Exp(%b)\n"
    body += f"%s = Add(%a, %e)\n%y = Transpose(%s) {BACK}"
    done = apply(push_transposes, text(body, "%x: f32[N,4,5,6], %z: f32[N,4,5,6]"))
    assert done.ops == ["Exp", "Add"]


def test_concat(apply: Any) -> None:
    body = f"%a = Transpose(%x) {TO}\n%b = Transpose(%z) {TO}\n"
    body += f"%s = Concat(%a, %b) {{axis=3}}\n%y = Transpose(%s) {BACK}"
    done = apply(push_transposes, text(body, "%x: f32[N,4,5,6], %z: f32[N,2,5,6]"))
    assert done.ops == ["Concat"] and done.graph.nodes[0].attributes["axis"] == 1


STAYS = {
    "no gain": f"%a = Relu(%x)\n%y = Transpose(%a) {TO}",
    "flattened Softmax": f"%a = Transpose(%x) {TO}\n%m = Softmax:11(%a) {{axis=1}}\n%y = Transpose(%m) {BACK}",
    "reduction without its dims": "%a = Transpose(%x) {perm=[0, 2, 3, 1]}\n"
    "%m = ReduceMean:17(%a) {axes=[1], keepdims=0}\n%y = Transpose(%m) {perm=[0, 2, 1]}",
}


@pytest.mark.parametrize("body", STAYS.values(), ids=STAYS)
def test_stays(apply: Any, body: str) -> None:
    assert not apply(push_transposes, text(body)).changed


def test_value_in_the_middle_that_is_an_output(apply: Any) -> None:
    body = f"%a = Transpose(%x) {TO}\n%m = Relu(%a)\n%y = Transpose(%m) {BACK}"
    assert not apply(push_transposes, text(body, outputs="%y, %m")).changed


def test_the_same_transpose_twice(apply: Any) -> None:
    body = f"%a = Transpose(%x) {TO}\n%m = Relu(%a)\n%y = Transpose(%m) {BACK}\n%n = Transpose(%m) {BACK}\n"
    body += "%e = Exp(%y)\n%f = Neg(%n)"
    done = apply(push_transposes, text(body, outputs="%e, %f"))
    assert done.ops == ["Relu", "Exp", "Neg"]


def test_first_transpose_with_another_user(apply: Any) -> None:
    body = f"%a = Transpose(%x) {TO}\n%y = Transpose(%a) {BACK}\n%z = Relu(%a)"
    done = apply(push_transposes, text(body, outputs="%y, %z"))
    assert done.ops == ["Transpose", "Identity", "Relu"]


def test_gemm_takes_a_flag(apply: Any) -> None:
    body = "%t = Transpose(%b)\n%y = Gemm(%a, %t, %c) {transA=1}"
    inputs = "%a: f32[3,2], %b: f32[4,3], %c: f32[4]"
    done = apply(push_transposes, text(body, inputs), rtol=1e-6)
    (node,) = done.graph
    assert node.attributes == {"transA": 1, "transB": 1}
    flipped = apply(push_transposes, text(body.replace("%b)", "%b) {perm=[1, 0]}").replace("transA=1", "transB=1"),
                                          "%a: f32[2,3], %b: f32[3,4], %c: f32[4]"), rtol=1e-6)  # fmt: skip
    assert flipped.graph.nodes[0].attributes == {"transA": 0, "transB": 0}


def test_matmul_of_matrices_becomes_gemm(apply: Any) -> None:
    body = "%t = Transpose(%b)\n%y = MatMul(%a, %t)"
    done = apply(push_transposes, text(body, "%a: f32[2,3], %b: f32[4,3]"), rtol=1e-6)
    assert done.ops == ["Gemm"]
    ints = text(body, "%a: i32[2,3], %b: i32[4,3]")
    assert not apply(push_transposes, ints).changed


def test_leading_dims_merged_and_split_again(apply: Any) -> None:
    body = """%m: i64[3] = const {-1, 5, 6}
  %s: i64[4] = const {2, 4, 6, 5}
  %r = Reshape(%x, %m)
  %t = Transpose(%r) {perm=[0, 2, 1]}
  %y = Reshape(%t, %s)"""
    done = apply(push_transposes, text(body, "%x: f32[2,4,5,6]"))
    assert done.ops == ["Transpose"] and done.graph.nodes[0].attributes["perm"] == [0, 1, 3, 2]
    other = body.replace("{2, 4, 6, 5}", "{4, 2, 6, 5}")
    assert not apply(push_transposes, text(other, "%x: f32[2,4,5,6]")).changed
