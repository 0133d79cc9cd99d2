"""fold-constants: what is computed ahead, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.fold_constants import fold_constants


def text(body: str, outputs: str = "%y") -> str:
    return f'opset {{"": 18}}\ngraph g(%x: f32[2,3]) {{\n{body}  return {outputs}\n}}\n'


def test_chain_of_constants(apply: Any) -> None:
    done = apply(
        fold_constants,
        text("  %a: f32[3] = const {1.0, 2.0, 3.0}\n  %b = Neg(%a)\n  %c = Exp(%b)\n  %y = Add(%x, %c)\n"),
    )
    assert done.ops == ["Add"]
    np.testing.assert_allclose(done.graph.nodes[0].inputs[1].data, np.exp([-1, -2, -3]), rtol=1e-6)


def test_several_outputs(apply: Any) -> None:
    body = "  %a: f32[4] = const {1.0, 2.0, 3.0, 4.0}\n  %b, %c = Split(%a) {num_outputs=2}\n  %d = Mul(%b, %c)\n"
    done = apply(fold_constants, text(body + "  %e = ReduceSum(%d)\n  %y = Add(%x, %e)\n"))
    assert done.ops == ["Add"]


def test_graph_output_is_an_identity_of_the_result(apply: Any) -> None:
    done = apply(fold_constants, text("  %a: f32[3] = const {1.0, 2.0, 3.0}\n  %y = Neg(%a)\n"))
    assert done.ops == ["Identity"]
    assert done.graph.outputs[0].name == "y"


def test_without_an_evaluator_nothing_is_folded(apply: Any) -> None:
    body = "  %a: f32[3] = const {1.0, 2.0, 3.0}\n  %b = Neg(%a)\n  %y = Add(%x, %b)\n"
    assert apply(fold_constants, text(body), evaluate=None).ops == ["Neg", "Add"]


def test_random_operators_stay(apply: Any) -> None:
    body = "  %a: f32[3] = const {1.0, 2.0, 3.0}\n  %b = RandomNormalLike(%a)\n  %y = Add(%x, %b)\n"
    assert apply(fold_constants, text(body), compare=False).ops == ["RandomNormalLike", "Add"]


def test_dequantized_weights_stay(apply: Any) -> None:
    body = "  %w: i8[3] = const {1, 2, 3}\n  %s: f32[] = const {0.5}\n  %b = DequantizeLinear:19(%w, %s)\n"
    body += "  %y = Add(%x, %b)\n"
    assert apply(fold_constants, text(body)).ops == ["DequantizeLinear", "Add"]


def test_results_that_are_too_large_stay(apply: Any) -> None:
    body = "  %n: i64[2] = const {1024, 1024}\n  %b = ConstantOfShape(%n)\n  %r = ReduceMax(%b)\n  %y = Add(%x, %r)\n"
    done = apply(fold_constants, text(body))
    assert done.ops[0] == "ConstantOfShape"
    assert "its result would be too large a constant" in done.reasons
    assert apply(fold_constants, text(body), options={"fold_limit": 1 << 23}).ops == ["Add"]


def weighted(op: str, width: int) -> Graph:
    """MatMul with a weight that is a cast and scaled int8 constant."""
    graph = Graph("g")
    from ronn.ir.types import DType, TensorType

    x = graph.add_input("x", TensorType(DType.FLOAT32, (2, 1024)))
    q = graph.constant(np.ones((1024, width), np.int8), "q")
    s = graph.constant(np.array(0.5, np.float32), "s")
    cast = graph.append(Node("Cast", [q], [Value("f")], {"to": 1}, version=18))
    scaled = graph.append(Node("Mul", [cast.output, s], [Value("w")], version=18))
    order = [x, scaled.output] if op == "MatMul" else [scaled.output, x]
    if op == "Gather":
        order = [scaled.output, graph.constant(np.array([1, 2]), "i")]
    last = graph.append(Node(op, order, [Value("y")], version=18))
    graph.add_output(last.output)
    return graph


def test_weights_of_products_are_computed_once(apply: Any) -> None:
    assert apply(fold_constants, weighted("MatMul", 1024)).ops == ["MatMul"]
    assert apply(fold_constants, weighted("Gather", 1024)).ops == ["Cast", "Mul", "Gather"]


def test_node_that_fails_is_left_to_fail_when_run(apply: Any) -> None:
    body = "  %a: f32[3] = const {1.0, 2.0, 3.0}\n  %i: i64[] = const {7}\n  %b = Gather(%a, %i)\n  %y = Add(%x, %b)\n"
    done = apply(fold_constants, text(body), compare=False)
    assert done.ops == ["Gather", "Add"]
    assert any(r.startswith("cannot be computed ahead") for r in done.reasons)


IF = """  %c: bool[] = const {%s}
  %h = Relu(%x)
  %y = If(%c) {
    then_branch=graph () {
      %k: f32[] = const {2.0}
      %t = Mul(%h, %k)
      return %t
    },
    else_branch=graph () {
      %k: f32[] = const {3.0}
      %t = Mul(%h, %k)
      return %t
    }
  }
"""


def test_constant_condition_chooses_the_branch(apply: Any) -> None:
    for value, factor in (("true", 2.0), ("false", 3.0)):
        done = apply(fold_constants, text(IF.replace("%s", value)))
        assert done.ops == ["Relu", "Mul"]
        assert done.graph.nodes[1].inputs[1].data == factor
        assert done.graph.outputs[0].name == "y"


def test_branch_that_is_a_value_from_outside(apply: Any) -> None:
    body = IF.replace("%s", "true").replace("      %t = Mul(%h, %k)\n      return %t\n", "      return %h\n", 1)
    assert apply(fold_constants, text(body)).ops == ["Relu", "Identity"]


def test_folds_inside_branches(apply: Any) -> None:
    body = IF.replace("  %c: bool[] = const {%s}\n", "  %s = ReduceSum(%x)\n  %z: f32[] = const {0.0}\n")
    body = body.replace("%y = If(%c)", "%c0 = Greater(%s, %z)\n  %c = Squeeze(%c0)\n  %y = If(%c)")
    body = body.replace("%t = Mul(%h, %k)", "%n = Neg(%k)\n      %t = Mul(%h, %n)", 1)
    done = apply(fold_constants, text(body))
    assert [n.op for n in done.graph.nodes[-1].attributes["then_branch"]] == ["Mul"]
