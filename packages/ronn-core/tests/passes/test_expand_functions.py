"""expand-functions: composites nobody takes become what ONNX says they are, when somebody takes all of that."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ronn.ir.graph import Node, Value
from ronn.passes.edit import Builder
from ronn.passes.eliminate_dead import eliminate_dead
from ronn.passes.expand_functions import expand_functions, function_body, register_body
from ronn.passes.fold_constants import fold_constants
from ronn.passes.lift_constants import lift_constants
from ronn.passes.pipelines import all_passes

ALL = [expand_functions, lift_constants, fold_constants, eliminate_dead]


def text(body: str, opset: int = 22, inputs: str = "%x: f32[3,4]", outputs: str = "%y") -> str:
    return f'opset {{"": {opset}}}\ngraph g({inputs}) {{\n{body}\n  return {outputs}\n}}\n'


def everything_but(*ops: str) -> Any:
    return lambda node: node.op not in ops


CASES = {
    "static body": ("%y = Softplus(%x)", 22),
    "attributes": ("%y = Elu(%x) {alpha=0.5}", 22),
    "default attributes": ("%y = HardSigmoid(%x)", 22),
    "body that depends on types": ("%y = Gelu(%x)", 22),
    "body that depends on attributes": ('%y = Gelu(%x) {approximate="tanh"}', 22),
    "optional inputs": ("%c: f32[] = const {0.5}\n%y = Clip(%x, _, %c)", 22),
    "older opset": ("%y = Softmax(%x) {axis=0}", 13),
    "newer opset": ("%y = Softmax(%x) {axis=0}", 22),
    "optional outputs": ("%g: f32[4] = const {1.0, 2.0, 3.0, 4.0}\n%y = LayerNormalization(%x, %g)", 17),
    "reductions": ("%y = ReduceLogSumExp(%x)", 18),
}


@pytest.mark.parametrize("name", CASES)
def test_expansion_keeps_the_numbers(apply: Any, name: str) -> None:
    body, opset = CASES[name]
    op = body.rpartition("%y = ")[2].partition("(")[0]
    done = apply(ALL, text(body, opset), takes=everything_but(op), rtol=1e-5, atol=1e-6)
    assert done.changed and op not in done.ops
    assert done.graph.outputs[0].name == "y"
    assert all("expand-functions" in n.tags for n in done.graph)


def test_nested_bodies(apply: Any) -> None:
    # The body of LogSoftmax or Softmax needs operators that are functions themselves.
    takes = everything_but("LayerNormalization", "CastLike", "Flatten2")
    body = "%g: f32[4] = const {1.0, 2.0, 3.0, 4.0}\n%y = LayerNormalization(%x, %g)"
    done = apply(ALL, text(body, 17), takes=takes, rtol=1e-5, atol=1e-6)
    assert done.changed and not {"LayerNormalization", "CastLike"} & set(done.ops)


def test_body_that_nobody_takes_wholly_is_no_gain(apply: Any) -> None:
    done = apply(ALL, text("%y = Softplus(%x)"), takes=everything_but("Softplus", "Log"))
    assert done.ops == ["Softplus"]
    assert done.reasons == ["no provider takes Log of its function body"]


def test_claimed_composites_stay(apply: Any) -> None:
    assert not apply(ALL, text("%y = Softplus(%x)"), takes=lambda node: True).changed


def test_without_claims_nothing_happens(apply: Any) -> None:
    assert not apply(ALL, text("%y = Softplus(%x)"), claimed=None).changed


def test_inside_a_branch(apply: Any) -> None:
    body = """%s = ReduceMax(%x) {keepdims=0}
  %z: f32[] = const {0.0}
  %c = Greater(%s, %z)
  %y = If(%c) {
    then_branch=graph () {
      %t = Softplus(%x)
      return %t
    },
    else_branch=graph () {
      %e = Neg(%x)
      return %e
    }
  }"""
    done = apply(ALL, text(body), takes=everything_but("Softplus"), rtol=1e-5)
    branch = done.graph.nodes[-1].attributes["then_branch"]
    assert "Softplus" not in [n.op for n in branch]


def test_registered_body(apply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[expand_functions.fn.__module__]
    monkeypatch.setattr(module, "_bodies", {})

    @register_body("me", "Twice")
    def twice(b: Builder, node: Node) -> list[Value] | None:
        x = node.inputs[0]
        if node.attributes.get("odd"):
            b.op("Abs", x)
            return None
        return [b.op("Add", x, x)]

    source = text("%y = me::Twice(%x)").replace('opset {"": 22}', 'opset {"": 22, "me": 1}')
    assert apply(ALL, source, takes="Add", compare=False).ops == ["Add"]
    assert not apply(ALL, source, takes="Add Twice", compare=False).changed
    odd = source.replace("(%x)\n", "(%x) {odd=1}\n")
    assert apply(ALL, odd, takes="Add", compare=False).ops == ["me::Twice"]


def test_a_composite_behind_a_long_chain(apply: Any) -> None:
    length = 2000  # nodes: more than Python's limit on recursion
    chain = "\n".join(f"%v{i + 1} = Neg(%v{i})" for i in range(length))
    source = text(f"{chain}\n%y = Softplus(%v{length})", inputs="%v0: f32[3]")
    done = apply(ALL, source, takes=everything_but("Softplus", "Exp"))
    assert done.reasons == ["no provider takes Exp of its function body"]


def test_operator_without_a_body() -> None:
    assert function_body(Node("Conv", version=22)) is None


def test_it_is_required() -> None:
    assert getattr(all_passes()["expand-functions"], "required", False)
