"""Types through If, Loop, Scan and SequenceMap."""

from __future__ import annotations

import pytest

from ronn.errors import ModelError
from ronn.ir.graph import Graph
from ronn.ir.text import parse
from ronn.ops.infer import infer_types


def infer(text: str, opset: int = 18) -> Graph:
    graph = parse(f"opset {opset}\ngraph g{text}")
    infer_types(graph)
    return graph


def types(graph: Graph) -> list[str]:
    return [str(v.type) for v in graph.outputs]


IF = """(%c: bool[], %x: f32[N,4], %y: f32[N,5]) {
  %z = If(%c) {
    then_branch=graph t() { %a = Relu(%x) return %a },
    else_branch=graph e() { %b = OTHER return %b }
  }
  return %z
}"""


def test_branches_keep_what_they_agree_on() -> None:
    assert types(infer(IF.replace("OTHER", "Neg(%x)"))) == ["f32[N,4]"]
    assert types(infer(IF.replace("OTHER", "Neg(%y)"))) == ["f32[N,?]"]
    assert types(infer(IF.replace("OTHER", "ReduceMax(%y) {keepdims=0}"))) == ["f32[*]"]


def test_a_known_condition_picks_its_branch() -> None:
    text = (
        IF.replace("OTHER", "Neg(%y)")
        .replace("{\n  %z", "{\n  %k = const bool[]{false}\n  %z")
        .replace("If(%c)", "If(%k)")
    )
    assert types(infer(text)) == ["f32[N,5]"]


def test_an_impossible_branch_is_no_error() -> None:
    graph = infer(
        IF.replace("%x: f32[N,4], %y: f32[N,5]", "%x: f32[2,4], %y: f32[3,5]").replace("OTHER", "Add(%x, %y)")
    )
    assert types(graph) == ["None"]


LOOP = """(%n: i64[], %c: bool[], %x: f32[N,4]) {
  %final, %all = Loop(%n, %c, %x) {
    body=graph b(%i: i64[], %go: bool[], %s: f32[1,1]) {
      %t = STEP
      %o = ReduceSum(%s) {keepdims=0}
      %on = Identity(%go)
      return %on, %t, %o
    }
  }
  return %final, %all
}"""


def test_carried_values_keep_dims_that_the_body_keeps() -> None:
    graph = infer(LOOP.replace("STEP", "Relu(%s)"))
    assert types(graph) == ["f32[N,4]", "f32[?]"]
    body = graph.nodes[0].attributes["body"]
    assert str(body.inputs[2].type) == "f32[N,4]"  # what is declared inside does not bind


def test_dims_that_grow_are_unknown() -> None:
    assert types(infer(LOOP.replace("STEP", "Concat(%s, %s) {axis=0}"))) == ["f32[?,4]", "f32[?]"]


def test_ranks_that_change_are_unknown() -> None:
    graph = infer(LOOP.replace("STEP", "Squeeze(%s)"))
    assert types(graph)[0] == "f32[*]"


def test_chains_of_carried_values_settle() -> None:
    graph = infer("""(%n: i64[], %x: f32[1], %y: f32[2], %z: f32[3]) {
      %a, %b, %c = Loop(%n, _, %x, %y, %z) {
        body=graph b(%i: i64[], %go: bool[], %p: f32[*], %q: f32[*], %r: f32[*]) {
          %t = Concat(%r, %x) {axis=0}
          return %go, %q, %r, %t
        }
      }
      return %a, %b, %c
    }""")
    assert types(graph) == ["f32[?]", "f32[?]", "f32[?]"]


def test_a_counted_loop_says_how_often_it_stacks() -> None:
    graph = infer("""(%x: f32[N,4]) {
      %n = const i64[]{5}
      %all = Loop(%n, _) {
        body=graph b(%i: i64[], %go: bool[]) {
          %yes = const bool[]{true}
          %o = Relu(%x)
          return %yes, %o
        }
      }
      return %all
    }""")
    assert types(graph) == ["f32[5,N,4]"]


@pytest.mark.parametrize(
    ("condition", "go", "count"), [("_", "%go", "N"), ("%yes", "%go", "N"), ("%no", "%go", "?"), ("_", "%stop", "?")]
)
def test_a_condition_that_is_handed_on_does_not_stop_a_loop(condition: str, go: str, count: str) -> None:
    graph = infer(f"""(%x: f32[N], %stop: bool[]) {{
      %yes = const bool[]{{true}}
      %no = const bool[]{{false}}
      %n = Size(%x)
      %all = Loop(%n, {condition}) {{
        body=graph b(%i: i64[], %go: bool[]) {{
          %on = Identity({go})
          %o = Neg(%i)
          return %on, %o
        }}
      }}
      return %all
    }}""")
    assert types(graph) == [f"i64[{count}]"]


def test_scan() -> None:
    graph = infer("""(%h: f32[B,8], %xs: f32[T,B,8], %ys: f32[B,T]) {
      %last, %all = Scan(%h, %xs, %ys) {
        num_scan_inputs=2, scan_input_axes=[0, 1], scan_output_axes=[-1],
        body=graph b(%s: f32[*], %x: f32[*], %y: f32[*]) {
          %t = Add(%s, %x)
          %o = Neg(%y)
          return %t, %o
        }
      }
      return %last, %all
    }""")
    assert types(graph) == ["f32[B,8]", "f32[B,T]"]


def test_sequence_map() -> None:
    graph = infer("""(%xs: seq(f32[N,3]), %y: f32[3]) {
      %zs = SequenceMap(%xs, %y) {
        body=graph b(%x: f32[*], %v: f32[*]) { %z = Add(%x, %v) %s = Shape(%z) return %s }
      }
      return %zs
    }""")
    assert types(graph) == ["seq(i64[2])"]


def test_sequences_of_different_tensors() -> None:
    graph = infer("""(%x: f32[N,3], %y: f32[M,3]) {
      %i = const i64[]{0}
      %s = SequenceConstruct(%x, %y)
      %a = SequenceAt(%s, %i)
      %c = ConcatFromSequence(%s) {axis=1}
      %n = SequenceLength(%s)
      return %s, %a, %c, %n
    }""")
    assert types(graph) == ["seq(f32[?,3])", "f32[?,3]", "f32[?,?]", "i64[]"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Loop(%n, %c, %x)", "Loop(%n, %c)", "the body takes 3 inputs, the node gives 2"),
        ("return %on, %t, %o", "return %on, %t", "the body returns 2 values, the node needs 3"),
    ],
)
def test_bodies_must_fit_their_node(old: str, new: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        infer(LOOP.replace("STEP", "Relu(%s)").replace(old, new))


def test_contradictions_in_a_loop_body_are_errors() -> None:
    with pytest.raises(ModelError, match="do not broadcast"):
        infer(LOOP.replace("STEP", "Add(%s, %w)").replace("{\n  %final", "{\n  %w = const f32[3]{1,2,3}\n  %final"))
