"""simplify-algebra: to the bit the same, negative zeros, infinities and NaN included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ronn.passes.simplify_algebra import RULES, simplify_algebra

SPECIAL = np.array([[0.0, -0.0, np.inf], [-np.inf, np.nan, 3.3]], np.float32)


def text(body: str, dtype: str = "f32", opset: int = 18) -> str:
    head = f'opset {{"": {opset}}}\ngraph g(%x: {dtype}[2,3]) {{\n'
    return head + body + "\n  return %y\n}\n"


FLOATS = {
    "minus zero added": ("%c: f32[] = const {-0.0}\n%y = Add(%x, %c)", ["Identity"]),
    "plus zero added": ("%c: f32[] = const {0.0}\n%y = Add(%x, %c)", None),
    "plus zero taken away": ("%c: f32[] = const {0.0}\n%y = Sub(%x, %c)", ["Identity"]),
    "minus zero taken away": ("%c: f32[] = const {-0.0}\n%y = Sub(%x, %c)", None),
    "one": ("%c: f32[3] = const {1.0, 1.0, 1.0}\n%y = Mul(%c, %x)", ["Identity"]),
    "zero times": ("%c: f32[] = const {0.0}\n%y = Mul(%x, %c)", None),
    "by one": ("%c: f32[] = const {1.0}\n%y = Div(%x, %c)", ["Identity"]),
    "one by": ("%c: f32[] = const {1.0}\n%y = Div(%c, %x)", None),
    "by eight": ("%c: f32[] = const {8.0}\n%y = Div(%x, %c)", ["Mul"]),
    "by powers of two": ("%c: f32[3] = const {-0.5, 2.0, 1024.0}\n%y = Div(%x, %c)", ["Mul"]),
    "by three": ("%c: f32[] = const {3.0}\n%y = Div(%x, %c)", None),
    "by a tiny number": ("%c: f32[] = const {1e-45}\n%y = Div(%x, %c)", None),
    "to the first": ("%c: f32[] = const {1.0}\n%y = Pow(%x, %c)", ["Identity"]),
    "squared": ("%c: f32[] = const {2.0}\n%y = Pow(%x, %c)", ["Mul"]),
    "cubed": ("%c: f32[] = const {3.0}\n%y = Pow(%x, %c)", None),
    "root of anything": ("%c: f32[] = const {0.5}\n%y = Pow(%x, %c)", None),
    "root of squares": ("%c: f32[] = const {0.5}\n%s = Mul(%x, %x)\n%y = Pow(%s, %c)", ["Mul", "Sqrt"]),
    "root of relu": ("%c: f32[] = const {0.5}\n%s = Relu(%x)\n%y = Pow(%s, %c)", None),
    "double minus": ("%a = Neg(%x)\n%y = Neg(%a)", ["Identity"]),
    "relu twice": ("%a = Relu(%x)\n%y = Relu(%a)", ["Relu"]),
    "relu of abs": ("%a = Abs(%x)\n%y = Relu(%a)", None),
    "raises the rank": ("%c: f32[1,1,1] = const {1.0}\n%y = Mul(%x, %c)", None),
    "add of neg": ("%c: f32[] = const {3.0}\n%e = Neg(%x)\n%y = Add(%c, %e)", ["Sub"]),
    "constants are not regrouped":
        ("%c: f32[] = const {3.0}\n%d: f32[] = const {0.1}\n%a = Mul(%x, %c)\n%y = Mul(%a, %d)", None),
    "where": ("%c: bool[] = const {true}\n%z: f32[] = const {7.0}\n%y = Where(%c, %x, %z)", ["Identity"]),
    "where broadcasts":
        ("%c: bool[2,2,3] = const {" + ", ".join(["true"] * 12) + "}\n%z: f32[] = const {7.0}\n%y = Where(%c, %x, %z)",
         None),
    "exact casts": ("%d = Cast(%x) {to=11}\n%y = Cast(%d) {to=10}", ["Cast"]),
    "casts of integers that wrap":
        ("%i = Cast(%x) {to=3}\n%d = Cast(%i) {to=1}\n%e = Cast(%d) {to=2}\n%y = Cast(%e) {to=1}", None),
    "rounding casts": ("%d = Cast(%x) {to=10}\n%y = Cast(%d) {to=11}", None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "ops"), FLOATS.values(), ids=FLOATS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_floats(apply: Any, request: pytest.FixtureRequest, body: str, ops: list[str] | None) -> None:
    done = apply(simplify_algebra, text(body), feeds={"x": SPECIAL}, compare="wrap" not in request.node.name)
    if ops is None:
        assert not done.changed
    else:
        assert done.ops == ops


def test_broadcast_by_the_constant_is_kept(apply: Any) -> None:
    body = text("%c: f32[3] = const {1.0, 1.0, 1.0}\n%y = Mul(%x, %c)").replace("f32[2,3]", "f32[2,1]")
    done = apply(simplify_algebra, body)
    assert not done.changed
    assert done.reasons == ["the constant may broadcast the value to a larger shape"]


UNSQUEEZED = "%a: i64[1] = const {2}\n%l = Unsqueeze(%x, %a)\n%n = Neg(%x)\n%r = Unsqueeze(%n, %a)\n"
STACKS = {
    "stack": (UNSQUEEZED + "%s = Concat(%l, %r, %l) {axis=-1}\n%y = ReduceMax(%s, %a) {keepdims=0}", ["Neg", "Max"]),
    "smallest of a stack": (
        UNSQUEEZED + "%s = Concat(%l, %r) {axis=2}\n%y = ReduceMin(%s, %a) {keepdims=0}", ["Neg", "Min"],
    ),
    "kept axis": (
        UNSQUEEZED + "%s = Concat(%l, %r) {axis=2}\n%y = ReduceMax(%s, %a)",
        ["Unsqueeze", "Neg", "Unsqueeze", "Max"],
    ),
    "slices that were none": (
        "%a: i64[1] = const {0}\n%n = Neg(%x)\n%t: i64[2] = const {0, 1}\n%l = ReduceSum(%x, %t)\n"
        "%r = ReduceSum(%n, %t)\n%s = Concat(%l, %r) {axis=0}\n%y = ReduceMax(%s, %a) {keepdims=0}",
        ["Neg", "ReduceSum", "ReduceSum", "Max", "Squeeze"],
    ),
    "another axis": (
        UNSQUEEZED + "%o: i64[1] = const {1}\n%s = Concat(%l, %r) {axis=2}\n%y = ReduceMax(%s, %o) {keepdims=0}", None,
    ),
    "two axes": (
        UNSQUEEZED + "%o: i64[2] = const {1, 2}\n%s = Concat(%l, %r) {axis=2}\n%y = ReduceMax(%s, %o)", None,
    ),
    "thick slices": ("%a: i64[1] = const {1}\n%s = Concat(%x, %x) {axis=1}\n%y = ReduceMax(%s, %a)", None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "ops"), STACKS.values(), ids=STACKS)
def test_stacks(apply: Any, body: str, ops: list[str] | None) -> None:
    done = apply(simplify_algebra, text(body), feeds={"x": SPECIAL} if "ReduceSum" not in body else None)
    assert done.ops == ops if ops is not None else not done.changed


SCATTERED = "%i: i64[2,1] = const {1, -2}\n%s: i64[2] = const {2, 3}\n%e = Expand(%i, %s)\n%u = Neg(%x)\n"
ROWS = {
    "added": ("%y = ScatterElements(%x, %e, %u) {reduction=\"add\"}", ["Neg", "ScatterND"]),
    "stored": ("%y = ScatterElements(%x, %e, %u) {axis=-2}", ["Neg", "ScatterND"]),
    "columns": ("%y = ScatterElements(%x, %e, %u) {axis=1}", None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "ops"), ROWS.values(), ids=ROWS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scattered_rows(apply: Any, body: str, ops: list[str] | None) -> None:
    done = apply(simplify_algebra, text(SCATTERED + body), feeds={"x": SPECIAL})
    assert done.ops == ops if ops is not None else not done.changed


INTS = {
    "zero": ("%c: i32[] = const {0}\n%y = Add(%c, %x)", ["Identity"]),
    "sum of constants": (
        "%c: i32[] = const {2147483647}\n%d: i32[] = const {5}\n%a = Add(%x, %c)\n%y = Add(%d, %a)",
        ["Add"],
    ),
    "product of constants": (
        "%c: i32[3] = const {7, 8, 9}\n%d: i32[] = const {5}\n%a = Mul(%x, %c)\n%y = Mul(%d, %a)",
        ["Mul"],
    ),
    "integer division": ("%c: i32[] = const {2}\n%y = Div(%x, %c)", None),
    "squared": ("%c: i32[] = const {2}\n%y = Pow(%x, %c)", ["Mul"]),
}


@pytest.mark.parametrize(("body", "ops"), INTS.values(), ids=INTS)
def test_integers(apply: Any, body: str, ops: list[str] | None) -> None:
    done = apply(simplify_algebra, text(body, "i32"))
    assert (done.ops == ops) if ops is not None else not done.changed


def test_booleans(apply: Any) -> None:
    body = "%t: bool[] = const {true}\n%f: bool[] = const {false}\n%a = And(%t, %x)\n%b = Or(%a, %f)\n"
    body += "%c = Not(%b)\n%y = Not(%c)"
    assert apply(simplify_algebra, text(body, "bool")).ops == ["Identity"]
    assert not apply(simplify_algebra, text("%t: bool[] = const {true}\n%y = Or(%t, %x)", "bool")).changed


def test_old_broadcasting_is_left_alone(apply: Any) -> None:
    body = "%c: f32[] = const {1.0}\n%y = Mul(%x, %c) {broadcast=1}"
    assert not apply(simplify_algebra, text(body, opset=6), compare=False).changed


def test_half_precision_reciprocals(apply: Any) -> None:
    assert apply(simplify_algebra, text("%c: f16[] = const {16.0}\n%y = Div(%x, %c)", "f16")).ops == ["Mul"]
    assert not apply(simplify_algebra, text("%c: f16[] = const {32768.0}\n%y = Div(%x, %c)", "f16")).changed


def test_every_rule_is_in_the_table() -> None:
    assert len(RULES.table().splitlines()) == len(RULES.rules) + 2
