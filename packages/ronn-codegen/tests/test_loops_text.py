"""The text form of loops: what is printed parses to the same loop, and what breaks a rule is told by name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.loops.language import (
    BINARY,
    FLOATS,
    INTEGERS,
    REDUCTIONS,
    UNARY,
    Array,
    Instr,
    Loop,
    LoopError,
    Section,
    verify,
)
from ronn_codegen.loops.text import parse
from ronn_codegen.loops.write import Writer, where

TYPES = sorted(FLOATS | INTEGERS)


@st.composite
def loops(draw: st.DrawFn) -> Loop:
    """Loops of every kind of instruction, with one or two sections over the elements."""
    outer, inner = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    writer = Writer(outer, inner)
    dtype = draw(st.sampled_from(TYPES))
    kinds = [*["s"] * (outer + inner - 1), draw(st.sampled_from("01s"))]
    x = writer.array("x", dtype, ["0"] * (outer + inner) if draw(st.booleans()) else kinds)
    y = writer.array("y", dtype, [*["s"] * (outer + inner - 1), "1"])
    rows = []
    for _ in range(draw(st.integers(1, 2))):
        with writer.each():
            values = [writer.load(x), writer.const(draw(st.integers(-3, 3)), dtype), writer.index(0).cast(dtype), *rows]
            for _ in range(draw(st.integers(1, 6))):
                a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
                op = draw(st.sampled_from(sorted({*UNARY, *BINARY, "select", "fma"})))
                if op == "select":
                    values.append(where(a < b, a, b))
                elif op == "fma" and dtype in FLOATS:
                    values.append(a.do("fma", b, a))
                elif op in {**UNARY, **BINARY} and dtype in {**UNARY, **BINARY}[op]:
                    made = a.do(op) if op in UNARY else a.do(op, b)
                    values.append(made.cast(dtype))
            writer.store(y, values[-1])
            reduction = draw(st.sampled_from(sorted(REDUCTIONS)))
            if dtype in REDUCTIONS[reduction]:
                rows = [writer.reduce(reduction, values[-1]).cast(dtype)] if reduction in ("sum", "largest") else []
    return writer.finish()


@settings(max_examples=60, deadline=None)
@given(loops())
def test_text_parses_to_the_same_loop(loop: Loop) -> None:
    assert parse(str(loop)) == loop
    assert str(parse(str(loop))) == str(loop)


def test_a_loop_reads_as_it_is_meant() -> None:
    writer = Writer(1, 1)
    x, y = writer.array("x", "f32", "s 1"), writer.array("y", "f32", "s 1")
    with writer.each():
        peak = writer.reduce("largest", writer.load(x))
    with writer.each():
        writer.load(x) * 3.0  # nothing uses it: it is left out
        writer.store(y, writer.load(x) - peak)
    assert str(writer.finish()) == (
        "loop outer=1 inner=1 vector=inner\n"
        "x: f32[s 1]\n"
        "y: f32[s 1]\n"
        "each\n"
        "  %0: f32 = load x\n"
        "  %1: f32 = largest %0\n"
        "each\n"
        "  %2: f32 = load x\n"
        "  %3: f32 = sub %2 %1\n"
        "  store y %3\n"
    )


HEAD = "loop outer=1 inner=1 vector=inner\nx: f32[s 1]\n"


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "a loop begins with"),
        ("loop outer=0 inner=0 vector=inner\neach\n", "there is none"),
        ("loop outer=0 inner=1 vector=inner\nx f32\neach\n", "an array is declared as"),
        ("loop outer=0 inner=1 vector=inner\nx: f8[1]\neach\n", "no element type 'f8'"),
        ("loop outer=0 inner=1 vector=inner\nx: f32[1 1]\neach\n", "2 strides for 1 axes"),
        ("loop outer=1 inner=1 vector=inner\nx: f32[1 1]\neach\n", "stride '1' along axis 0"),
        (HEAD + "x: f32[s 1]\neach\n", "two arrays have one name"),
        (HEAD + "each\n  %0 = load x\n", "an instruction is"),
        (HEAD + "each\n  %0: f32 = const x\n", "cannot read the operands"),
        (HEAD + "each\n  %0: f32 = load z\n", "no array is called 'z'"),
        (HEAD + "each\n  %0: i32 = load x\n", "x holds f32"),
        (HEAD + "each\n  %0: f32 = load x\n  %0: f32 = load x\n", "%0 is made twice"),
        (HEAD + "each\n  %0: f32 = neg %1\n", "%1 is not known here"),
        (HEAD + "each\n  %0: f32 = load x\neach\n  %1: f32 = neg %0\n", "%0 is not known here"),
        (HEAD + "each\n  %0: f32 = load x\n  %1: f32 = twist %0\n", "no such operation"),
        (HEAD + "each\n  %0: f32 = load x\n  %1: f32 = xor %0 %0\n", "does not take f32, f32 to f32"),
        (HEAD + "each\n  %0: f32 = load x\n  %1: f32 = lt %0 %0\n", "does not take f32, f32 to f32"),
        (HEAD + "row\n  %0: f32 = load x\n  %1: f32 = sum %0\n", "stands in a row section"),
        (HEAD + "each\n  %0: f32 = load x\n  %1: i64 = bits %0\n", "does not take f32 to i64"),
        (HEAD + "row\n  %0: i64 = position\n", "stands in a row section"),
        (HEAD + "each\n  %0: i64 = index 7\n", "names no axis"),
        (HEAD + "each\n  %0: i32 = count\n", "gives i64"),
    ],
)
def test_broken_loops_are_refused(text: str, why: str) -> None:
    with pytest.raises(LoopError, match=why.replace("(", r"\(")):
        parse(text)


def test_sections_have_two_kinds() -> None:
    array = Array("x", "f32", ("1",))
    section = Section("often", (Instr(0, "load", "f32", array="x"),))
    with pytest.raises(LoopError, match="'each' or 'row'"):
        verify(Loop(0, 1, "inner", (array,), (section,)))
