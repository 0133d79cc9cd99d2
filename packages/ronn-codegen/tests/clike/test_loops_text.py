"""Loops as C: the text of a few, which people read; every operation and type has one; what names mean is defined."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ronn.records import replace
from ronn_codegen.clike.kernel import Grid, Target, Template
from ronn_codegen.clike.loops import kernel_of, needs_doubles
from ronn_codegen.clike.opencl import OpenCL
from ronn_codegen.clike.render import epilogue
from ronn_codegen.clike.render.functions import FUNCTIONS, functions_in
from ronn_codegen.clike.render.statements import statements
from ronn_codegen.clike.render.values import apply, literal
from ronn_codegen.loops.kernel import LoopKernel
from ronn_codegen.loops.language import (
    BINARY,
    BITS,
    COMPARISONS,
    FLOATS,
    HALVES,
    INTEGERS,
    UNARY,
    Array,
    Instr,
    Loop,
    Section,
)
from ronn_codegen.loops.nest import Nest
from ronn_codegen.loops.text import parse

GOLDEN = Path(__file__).parent / "golden"
VECTORS = Target(OpenCL(), width=4)
GROUPS = Target(OpenCL(), width=1)


def channels() -> LoopKernel:
    """x[n, c, h w] * s[c] + a scalar, less than 0 replaced."""
    nest = Nest((2, 3, 40))
    with nest.writer.each():
        x = nest.load("x", "f32", (120, 40, 1)) * nest.load("s", "f32", (0, 1, 0)) + nest.load("b", "f32", (0, 0, 0))
        nest.store("y", "f32", (120, 40, 1), x.max(0.0))
    return nest.finish().kernel


def small_types() -> LoopKernel:
    """A quotient of bytes as float16 where a mask says so."""
    nest = Nest((50,))
    with nest.writer.each():
        q = (nest.load("x", "u8", (1,)) / nest.load("z", "u8", (1,))).cast("f16")
        kept = nest.load("m", "bool", (1,)) & nest.load("h", "f16", (1,)).cast("f32").do("isnan")
        nest.store("y", "f16", (1,), q)
        nest.store("k", "bool", (1,), kept)
    return nest.finish().kernel


def softmax(axis: int) -> LoopKernel:
    nest = Nest((30, 50), 1)
    laid = (50, 1) if axis == 1 else (1, 30)
    with nest.writer.each():
        peak = nest.writer.reduce("peak", nest.load("x", "f32", laid))
    with nest.writer.each():
        e = nest.load("x", "f32", laid) - peak
        nest.store("y", "f32", laid, e)
        total = nest.writer.reduce("sum", e)
    with nest.writer.row():
        factor = 1.0 / total
    with nest.writer.each():
        nest.store("y", "f32", laid, nest.load("y", "f32", laid) * factor)
    return nest.finish().kernel


def positions() -> LoopKernel:
    nest = Nest((30, 50), 1)
    with nest.writer.each():
        at = nest.writer.reduce("argmax", nest.load("x", "i32", (50, 1)))
    with nest.writer.row():
        nest.store("y", "i64", (1, 0), at)
    return nest.finish().kernel


@pytest.mark.parametrize(
    "name, kernel, target",
    [
        ("channels", channels(), VECTORS), ("small_types", small_types(), VECTORS),
        ("softmax_strips", softmax(1), VECTORS), ("softmax_strips_of_rows", softmax(0), VECTORS),
        ("softmax_lanes", softmax(1), GROUPS), ("argmax_lanes", positions(), GROUPS),
    ],
)  # fmt: skip
def test_texts_that_people_read(name: str, kernel: LoopKernel, target: Target) -> None:
    got = kernel_of(kernel).source(name, target)
    assert got == (GOLDEN / f"{name}.cl").read_text(encoding="utf-8")


CALLED = re.compile(r"\b([a-z]\w*_(?:of_)?(?:bf16|[fiu]\d+))\(")


def check_defined(text: str) -> None:
    """What is called by a name with a type is defined, once, in front of where it is used."""
    whole = functions_in(text) + text
    for name in CALLED.findall(text):
        assert name in FUNCTIONS
        assert len(re.findall(rf"^DEVICE \w+ {name}\(", whole, re.M)) == 1
    at = {name: whole.index(f"#define HAS_{name}\n") for name in re.findall(r"#define HAS_(\w+)", whole)}
    for name, start in at.items():
        for used in CALLED.findall(FUNCTIONS[name]):
            assert used == name or at[used] < start


@pytest.mark.parametrize("op", sorted({*UNARY, *BINARY}))
def test_every_operation_of_every_type_has_a_text(op: str) -> None:
    arity = 1 if op in UNARY else 2
    for dtype in sorted({**UNARY, **BINARY}[op]):
        instrs = [Instr(i, "load", dtype, (), f"x{i}") for i in range(arity)]
        made = Instr(arity, op, "bool" if op in COMPARISONS else dtype, tuple(range(arity)))
        lines, terms = statements([*instrs, made], {f"x{i}": f"x{i}[j]" for i in range(arity)})
        assert terms[arity].dtype == made.dtype and lines[-1].endswith(";")
        check_defined("\n".join(lines))


def test_every_cast_and_every_constant_has_a_text() -> None:
    for source in sorted(BITS):
        for target in sorted(BITS):
            _, known = statements([Instr(0, "load", source, (), "x")], {"x": "x[j]"})
            check_defined(apply("cast", target, [known[0]]))
        if source not in HALVES:
            numbers = [0, 1, -1, 2.5, 1e30, float("nan"), float("-inf")] if source in FLOATS else [0, 1]
            if source in INTEGERS:
                bits = BITS[source]
                numbers += [(1 << (bits - 1)) - 1, -(1 << (bits - 1)) if source.startswith("i") else (1 << bits) - 1]
            assert all(literal(n, source) for n in numbers)
    assert literal(-(1 << 63), "i64") == "((i64)0x8000000000000000u)"
    assert literal(0.1, "f32") == "0.1f" and literal(0.1, "f64") == "0.1" and literal(-2, "f32") == "(-2.0f)"


@pytest.mark.parametrize("name", sorted(epilogue.ACTIVATIONS))
def test_activations_with_numbers_and_with_parameters(name: str) -> None:
    arity, _ = epilogue.ACTIVATIONS[name]
    lines, result = epilogue.activation(name, [0.25, 0.5][:arity], x="acc")
    assert result == ("acc" if not name else lines[-1].split()[2])
    check_defined("\n".join(lines))
    text = epilogue.activation_function(name, "act")
    assert "DEVICE f32 act(f32 x, f32 p0, f32 p1)\n{" in text and all(f"p{i}" in text for i in range(arity))
    with pytest.raises(ValueError, match="parameters"):
        epilogue.activation(name, [1.0] * (arity + 1))


def test_grids_cover_all_elements_in_groups_that_fit() -> None:
    for target in (
        VECTORS,
        GROUPS,
        replace(GROUPS, group=1),
        replace(GROUPS, local_bytes=64),
        replace(VECTORS, group=6),
    ):
        for dims in ((1, 1), (3, 5), (70, 3), (2, 5000), (100_000, 2), (0, 4)):
            for kernel in (softmax(1), softmax(0), channels()):
                loop = kernel.loop
                sizes = {f"d{k}": dims[min(k, 1)] for k in range(loop.rank)}
                grid: Grid = kernel_of(kernel).grid(sizes, target)
                x, y, z = (g * n for g, n in zip(grid.groups, grid.local, strict=True))
                assert grid.local[0] * grid.local[1] <= target.group and grid.local[2] == 1
                assert all(g >= 1 for g in grid.groups) and max(grid.groups[1:]) <= 65535
                along = sizes[f"d{loop.vector_axis}"]
                rows = 1
                for k in range(loop.outer if loop.reduces else loop.rank):
                    rows *= sizes[f"d{k}"] if k != loop.vector_axis else 1
                if loop.reduces and loop.vector == "inner":
                    assert y * z >= rows
                else:
                    width = target.width if loop.reduces else 1
                    assert x * width >= along and grid.groups[1] * grid.groups[2] * (1 if loop.reduces else y) >= 1
                    assert (grid.groups[1] * z if loop.reduces else y * z) >= rows


def test_local_memory_stays_within_what_the_target_has() -> None:
    for local in (0, 100, 4096):
        text = kernel_of(positions()).source("k", replace(GROUPS, local_bytes=local))
        taken = sum(int(n) * BITS[t] // 8 for t, n in re.findall(r"^    LOCAL (\w+) \w+\[(\d+)\];", text, re.M))
        assert taken <= local
        assert ("BARRIER" in text) == (local >= 24)


def test_periods_and_scalars() -> None:
    arrays = (Array("x", "f32", ("s", "%8")), Array("c", "f32", ("0", "0")), Array("y", "f32", ("s", "1")))
    instrs = (
        Instr(0, "load", "f32", (), "x"), Instr(1, "load", "f32", (), "c"), Instr(2, "add", "f32", (0, 1)),
        Instr(-1, "store", "", (2,), "y"),
    )  # fmt: skip
    loop = Loop(1, 1, "inner", arrays, (Section("each", instrs),))
    text = kernel_of(LoopKernel.of(loop)).source("k", VECTORS)
    assert "x[i0 * x_0 + (i1 & 7)]" in text and "c[0]" in text and "y[i0 * y_0 + i1]" in text
    assert parse(str(loop)) == loop


def test_what_is_a_kernel_already_stays_as_it_is() -> None:
    template = Template("copy(x: u8*, y: u8*, n)", "y[item] = x[item];", "n")
    assert kernel_of(template) is template


def test_loops_that_a_device_without_doubles_cannot_run() -> None:
    def cast(source: str, target: str) -> LoopKernel:
        nest = Nest((9,))
        with nest.writer.each():
            nest.store("y", target, (1,), nest.load("x", source, (1,)).cast(target))
        return nest.finish().kernel

    assert [needs_doubles(cast(*t)) for t in (("f64", "f32"), ("f32", "f64"), ("i32", "bf16"))] == [True] * 3
    assert not any(needs_doubles(k) for k in (cast("u8", "bf16"), cast("i64", "f16"), channels(), softmax(1)))
    for kernel in (cast("u8", "bf16"), cast("i64", "f16"), channels(), softmax(1)):
        assert "f64" not in kernel_of(kernel).source("k", replace(VECTORS, doubles=False))
    assert not needs_doubles(Template("copy(x: f64*, y: f64*, n)", "y[item] = x[item];", "n"))
