"""Splitting at sizes that depend on data: what goes to the head, what crosses, what sizes hang on."""

from __future__ import annotations

from ronn.ir.graph import Graph
from ronn.ir.text import parse
from ronn.ops.infer import infer_types
from ronn.split import LEAST_TAIL, split

RELUS = "\n".join(f"  %r{i + 1} = Relu(%r{i})" for i in range(LEAST_TAIL))


def graph(body: str, inputs: str = "%x: f32[4,6]", outputs: str = "%y") -> Graph:
    made = parse(f'opset {{"": 18}}\ngraph g({inputs}) {{\n{body}\n  return {outputs}\n}}\n')
    infer_types(made)
    return made


def test_nothing_to_split() -> None:
    assert split(graph("  %r0 = Relu(%x)\n" + RELUS, outputs="%r8")) is None


def test_what_must_run_ends_the_head() -> None:
    body = f"  %i = NonZero(%x)\n  %r0 = Cast(%i) {{to=1}}\n{RELUS}\n  %y = Add(%r8, %r8)"
    halves = split(graph(body))
    assert halves is not None
    assert [n.op for n in halves.head] == ["NonZero"]
    assert [v.name for v in halves.crossing] == ["i"] and halves.by_value == ()
    assert [v.name for v in halves.tail.inputs] == ["i"] and halves.outputs == (0,)


def test_a_shape_that_is_computed_crosses_by_value() -> None:
    body = f"""  %two: i64[1] = const {{2}}
  %t = Mul(%s, %two)
  %h = Exp(%x)
  %r0 = Reshape(%h, %t)
{RELUS}
  %y = Neg(%r8)
  %z = Neg(%h)"""
    halves = split(graph(body, "%x: f32[4,6], %s: i64[2]", "%y, %z"))
    assert halves is not None
    assert [n.op for n in halves.head] == ["Mul", "Exp", "Neg"]
    assert [v.name for v in halves.crossing] == ["h", "t"] and halves.by_value == (1,)
    assert halves.outputs[0] == 0 and getattr(halves.outputs[1], "name", "") == "z"


def test_deeper_shapes_cross_by_value_when_the_head_knows_them() -> None:
    body = f"""  %i = NonZero(%x)
  %a = Neg(%s)
  %r0 = Cast(%i) {{to=1}}
{RELUS}
  %y = Expand(%r8, %a)"""
    halves = split(graph(body, "%x: f32[4,6], %s: i64[3]"))
    assert halves is not None
    assert [v.name for v in halves.crossing] == ["i", "a"] and halves.by_value == (1,)


def test_a_short_tail_is_left_alone() -> None:
    assert split(graph("  %i = NonZero(%x)\n  %y = Neg(%i)")) is None


def test_constants_go_to_both_halves() -> None:
    body = f"""  %c: f32[1] = const {{3}}
  %h = Mul(%x, %c)
  %i = NonZero(%h)
  %f = Cast(%i) {{to=1}}
  %r0 = Mul(%f, %c)
{RELUS}
  %y = Neg(%r8)"""
    halves = split(graph(body))
    assert halves is not None
    assert "c" in halves.head.initializers and "c" in halves.tail.initializers


SHORT = """  %a = Exp(%x)
  %y = Reshape(%a, %s)"""


def test_values_of_inputs_split_however_short_the_tail() -> None:
    halves = split(graph(SHORT, "%x: f32[4,6], %s: i64[2]"))
    assert halves is not None and halves.given
    assert [n.op for n in halves.head] == ["Exp"] and [n.op for n in halves.tail] == ["Reshape"]
    assert [v.name for v in halves.crossing] == ["a", "s"] and halves.by_value == (1,)
    assert split(graph(SHORT, "%x: f32[4,6], %s: i64[2]"), given=False) is None


def test_the_head_may_be_empty() -> None:
    halves = split(graph("  %y = Reshape(%x, %s)", "%x: f32[4,6], %s: i64[2]"))
    assert halves is not None and len(halves.head) == 0 and halves.by_value == (1,)


def test_values_matter_where_sizes_are_known_too() -> None:
    body = "  %y: f32[4,6] = ReduceSum(%x, %s) {keepdims=1, noop_with_empty_axes=1}"
    halves = split(graph(body, "%x: f32[4,6], %s: i64[0]"))
    assert halves is not None and halves.by_value == (1,)
    behind = body.replace("%y:", "%r0:") + "\n" + RELUS
    assert split(graph(behind, "%x: f32[4,6], %s: i64[0]", "%r8")) is None


def test_short_tails_that_hang_on_more_are_left_alone() -> None:
    """What NonZero finds changes with every run: a few nodes behind it do not wait for plans."""
    assert split(graph("  %i = NonZero(%x)\n  %y = Reshape(%i, %s)", "%x: f32[4,6], %s: i64[1]")) is None
    assert split(graph("  %t = Neg(%s)\n  %y = Reshape(%x, %t)", "%x: f32[4,6], %s: i64[a]")) is None
    many = "%x: f32[4,600], %s: i64[600]"
    assert split(graph("  %t = Neg(%s)\n  %y = Expand(%x, %t)", many)) is None


def test_what_makes_the_values_goes_with_them() -> None:
    body = """  %one: i64[1] = const {1}
  %t = Concat(%s, %one) {axis=0}
  %u = Neg(%t)
  %e = Exp(%x)
  %y = Reshape(%e, %t)"""
    halves = split(graph(body, "%x: f32[4,6], %s: i64[1]", "%y, %u"))
    assert halves is not None
    assert [n.op for n in halves.head] == ["Concat", "Neg", "Exp"]  # what the head needs too is in both
    assert [n.op for n in halves.tail] == ["Concat", "Reshape"]
    assert sorted(v.name for v in halves.crossing) == ["e", "s"]
    assert halves.crossing[halves.by_value[0]].name == "s"
    long = """  %k: i64[1] = const {65}
  %w = Expand(%s, %k)
  %m = ReduceMax(%w)
  %e = Exp(%x)
  %y = Reshape(%e, %m)"""
    assert split(graph(long, "%x: f32[4,6], %s: i64[1]")) is None  # more than a shape is computed from the input
    halves = split(graph(body.replace("  %u = Neg(%t)\n", ""), "%x: f32[4,6], %s: i64[1]"))
    assert halves is not None and [n.op for n in halves.head] == ["Exp"]
