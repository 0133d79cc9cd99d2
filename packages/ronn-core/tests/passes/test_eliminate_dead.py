"""eliminate-dead: nodes, constants, optional outputs, subgraphs."""

from __future__ import annotations

from typing import Any

from ronn.passes.eliminate_dead import eliminate_dead


def text(body: str, outputs: str = "%y") -> str:
    return f'opset {{"": 18}}\ngraph g(%x: f32[2,4]) {{\n{body}  return {outputs}\n}}\n'


def test_unused_nodes_and_constants_go(apply: Any) -> None:
    body = "  %c: f32[] = const {1.0}\n  %a = Neg(%x)\n  %b = Add(%a, %c)\n"
    body += "  %r = RandomNormalLike(%x)\n  %y = Relu(%x)\n"
    done = apply(eliminate_dead, text(body))
    assert done.ops == ["Relu"]
    assert not done.graph.initializers


def test_constant_that_is_an_output_stays(apply: Any) -> None:
    done = apply(eliminate_dead, text("  %c: f32[] = const {1.0}\n  %y = Relu(%x)\n", "%y, %c"))
    assert list(done.graph.initializers) == ["c"] and not done.changed


def test_optional_outputs_are_omitted(apply: Any) -> None:
    done = apply(eliminate_dead, text("  %y, %mask = Dropout(%x)\n"))
    assert len(done.graph.nodes[0].outputs) == 1
    body = "  %s: f32[4] = const {1.0, 1.0, 1.0, 1.0}\n  %y, %m, %v = LayerNormalization(%x, %s)\n"
    done = apply(eliminate_dead, text(body, "%y, %v"))
    assert [v.name for v in done.graph.nodes[0].outputs] == ["y", "", "v"]


def test_outputs_that_must_be_there_stay(apply: Any) -> None:
    done = apply(eliminate_dead, text("  %y, %z = Split(%x) {axis=1, num_outputs=2}\n"))
    assert [v.name for v in done.graph.nodes[0].outputs] == ["y", "z"]
    done = apply(eliminate_dead, text("  %k: i64[1] = const {1}\n  %v, %i = TopK(%x, %k)\n", "%i"))
    assert [v.name for v in done.graph.nodes[0].outputs] == ["v", "i"]


SUB = """  %h = Neg(%x)
  %unused = Exp(%x)
  %s = ReduceMax(%x) {keepdims=0}
  %z: f32[] = const {0.0}
  %k: f32[] = const {3.0}
  %c = Greater(%s, %z)
  %y = If(%c) {
    then_branch=graph () {
      %dead = Exp(%unused)
      %t = Mul(%h, %k)
      return %t
    },
    else_branch=graph () {
      %e = Relu(%x)
      return %e
    }
  }
"""


def test_subgraphs_are_swept_and_their_uses_count(apply: Any) -> None:
    done = apply(eliminate_dead, text(SUB))
    assert done.ops == ["Neg", "ReduceMax", "Greater", "If"]
    assert set(done.graph.initializers) == {"z", "k"}
    assert [n.op for n in done.graph.nodes[-1].attributes["then_branch"]] == ["Mul"]


def test_node_with_a_subgraph_lets_go_of_what_it_used(apply: Any) -> None:
    done = apply(eliminate_dead, text(SUB.replace("%y = If", "%w = If") + "  %y = Relu(%x)\n"))
    assert done.ops == ["Relu"]
    assert not done.graph.initializers
