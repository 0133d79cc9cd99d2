"""Products of given bytes with integer weights of a few bits: int32 as MatMulInteger has it, or scaled to float32.

A weight is ``step * code + base``, with a ``base`` for each row and group (zero points are in it). With signed bytes a
(unsigned ones less 128) of zero point z, a sum over a group is

    sum((a - z) * weight) = step * sum(a * code) + base * sum(a) - z * sum(weight)

in 32 bits that wrap round, as the standard's sums do: exact for every input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.emit import splat
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import (
    I64,
    at,
    broadcast,
    choose,
    emitted,
    i64,
    load,
    loop,
    mask_of,
    multiply_add,
    pointer,
    scaled,
    store,
)
from ronn_codegen.simd.types import Vec
from ronn_provider_bitnet.kernels.dots import CodeDots
from ronn_provider_bitnet.kernels.layout import panel_rows, panel_vectors, step_of

_entry = njit(error_model="numpy", nogil=True)
_to_i8, _to_i32 = ops.convert("i8"), ops.convert("i32")
_MIDDLE = 128
Source = tuple[Any, Any]  # a base address and the bytes between rows


@native("shift_rows(x, m, k, groups, group, wide, signed, zero, zero_rows, a, sums, zeros)")
def shift_rows(target: Target) -> Callable[..., None]:
    """Bytes x[m, k], ``signed`` or not, as s8 a[m, groups * wide] (zeros behind each group's ``group`` elements),
    their sums i32[m, groups], and zero points i32[m].

    Unsigned bytes and their zero points come off by 128. ``zero`` is the address of the zero point, or of one for each
    row (``zero_rows``); 0: there is none.
    """
    lanes = target.lanes(32)
    i32, i8 = VectorType("i32", lanes), VectorType("i8", lanes)
    load_i, load_u, splat, put = i8.load, VectorType("u8", lanes).load, i32.splat, i8.store
    byte, signed_byte, put_byte, put_int = peek("u8"), peek("i8"), poke("i8"), poke("i32")

    @_entry
    def run(
        x: int, m: int, k: int, groups: int, group: int, wide: int, signed: int, zero: int, zero_rows: int, a: int,
        sums: int, zeros: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        less = 0 if signed else _MIDDLE
        for r in range(m * worker // workers, m * (worker + 1) // workers):
            given = 0
            if zero != 0:
                place = r * zero_rows
                given = signed_byte(zero, place) if signed else byte(zero, place)
            put_int(zeros, r, given - less)
            for g in range(groups):
                begin, count = g * group, min(group, k - g * group)
                source, to = r * k + begin, (r * groups + g) * wide
                total = splat(0)
                i = 0
                while i + lanes <= count:
                    if signed:
                        values = _to_i32(load_i(x, source + i))
                    else:
                        values = _to_i32(load_u(x, source + i)) - splat(_MIDDLE)
                    total = total + values
                    put(a, to + i, _to_i8(values))
                    i += lanes
                rest = 0
                while i < count:
                    value = signed_byte(x, source + i) if signed else byte(x, source + i) - _MIDDLE
                    rest += value
                    put_byte(a, to + i, value)
                    i += 1
                while i < wide:
                    put_byte(a, to + i, 0)
                    i += 1
                put_int(sums, r * groups + g, rest + ops.reduce_add(total))

    return run


def heights(target: Target) -> tuple[tuple[int, int], ...]:
    """Tiles as (rows of activations, vectors of weights): the first has a whole panel, others what registers hold."""
    whole = panel_vectors(target)
    return ((1, whole), (2, whole), (4, whole)) if target.registers >= 32 else ((1, whole), (2, whole // 2))


def _tile(target: Target, bits: int, real: bool) -> Any:
    """The intrinsic (which, groups, steps, a, a_row, sums, sums_row, zeros, packed, step, factor, bias, y, y_row,
    columns): strides in bytes, ``steps`` words of a group; only the first ``columns`` columns are stored. Without
    ``real``, results are int32, and there are neither ``factor`` nor ``bias``."""
    lanes, code_dots = target.lanes(32), CodeDots(target, bits)
    floats, ints = Vec("f32", lanes), Vec("i32", lanes)
    results = floats if real else ints
    across, whole = 4 * lanes, panel_vectors(target)
    facts = 3 if real else 2

    def emit(
        b: Any, which: Any, groups: Any, steps: Any, a: Any, a_row: Any, sums: Any, sums_row: Any, zeros: Any,
        packed: Any, step: Any, factor: Any, bias: Any, y: Any, y_row: Any, columns: Any,
    ) -> None:  # fmt: skip
        def places(source: Source, rows: int) -> list[Any]:
            return [at(b, pointer(b, source[0]), scaled(b, source[1], r)) for r in range(rows)]

        def rows_of(rows: int, vectors: int) -> None:
            left, totals_at = places((a, a_row), rows), places((sums, sums_row), rows)
            less = [broadcast(b, ints, at(b, pointer(b, zeros), 4 * r)) for r in range(rows)]
            steps_of_code = splat(b, b.trunc(step, ir.IntType(32)), lanes)
            x_scale = broadcast(b, floats, pointer(b, factor)) if real else None
            nothing = [[ir.Constant(results.llvm, None) for _ in range(vectors)] for _ in range(rows)]

            def group(_: Any, carried: Any) -> Any:
                w, k, g, found = carried
                w1, k, dots = code_dots.sums(b, steps, at(b, w, facts * whole * across), k, left, vectors)
                totals = [broadcast(b, ints, at(b, place, g)) for place in totals_at]
                out: list[list[Any]] = [[] for _ in range(rows)]
                for v in range(vectors):
                    base, weight = (load(b, ints, at(b, w, (fact * whole + v) * across)) for fact in (0, 1))
                    if real:
                        scale = load(b, floats, at(b, w, (2 * whole + v) * across))
                        scale = b.fmul(scale, x_scale)
                    for r in range(rows):
                        value = b.add(b.mul(dots[r][v], steps_of_code), b.mul(base, totals[r]))
                        value = b.sub(value, b.mul(weight, less[r]))
                        if real:
                            new = multiply_add(b, floats, b.sitofp(value, floats.llvm), scale, found[r][v])
                        else:
                            new = b.add(found[r][v], value)
                        out[r].append(new)
                return w1, k, b.add(g, i64(4)), out

            found = loop(b, groups, [pointer(b, packed), i64(0), i64(0), nothing], group)[3]
            for r in range(rows):
                to = at(b, pointer(b, y), scaled(b, y_row, r))
                for v in range(vectors):
                    value = found[r][v]
                    if real:
                        value = b.fadd(value, load(b, floats, at(b, pointer(b, bias), v * across)))
                    rest = b.sub(columns, I64(v * lanes))
                    place = at(b, to, v * across)
                    with b.if_else(b.icmp_signed(">=", rest, I64(lanes))) as (full, part):
                        with full:
                            store(b, results, value, place)
                        with part:
                            store(b, results, value, place, mask_of(b, rest, lanes))

        choose(b, which, [partial(rows_of, rows, vectors) for rows, vectors in heights(target)])

    return emitted(f"integers{bits}_{int(real)}_{target.name}", " ".join(["i64"] * 15), emit)


def _integers(target: Target, bits: int, real: bool) -> Callable[..., None]:
    tile, rows_in_panel, step_k = _tile(target, bits, real), panel_rows(target), step_of(bits)
    facts, half, most = 3 if real else 2, heights(target)[-1][1] * target.lanes(32), heights(target)[-1][0]
    many, finish = most > 2, activate(target.lanes(32))

    @_entry
    def run(
        a: Any, m: Any, groups: Any, group: Any, n: Any, packed: Any, sums: Any, zeros: Any, step: Any, factor: Any,
        bias: Any, y: Any, mode: Any, p0: Any, p1: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        steps, k = group // step_k, groups * group
        panels, units = (n + rows_in_panel - 1) // rows_in_panel, (m + most - 1) // most
        size = 4 * rows_in_panel * groups * (facts + steps)
        for work in range(panels * units * worker // workers, panels * units * (worker + 1) // workers):
            p, row = work // units, work % units * most
            last, first = min(row + most, m), p * rows_in_panel
            columns = n - first
            while row < last:
                which, rows = 0, 1
                if many and last - row >= 4:
                    which, rows = 2, 4
                elif last - row >= 2:
                    which, rows = 1, 2
                at_a, at_sums, at_zeros = a + row * k, sums + 4 * row * groups, zeros + 4 * row
                to = y + 4 * (row * n + first)
                tile(which, groups, steps, at_a, k, at_sums, 4 * groups, at_zeros, packed + p * size, step, factor,
                     bias + 4 * first, to, 4 * n, columns)  # fmt: skip
                if which > 0 and half < rows_in_panel and columns > half:
                    tile(which, groups, steps, at_a, k, at_sums, 4 * groups, at_zeros, packed + p * size + 4 * half,
                         step, factor, bias + 4 * (first + half), to + 4 * half, 4 * n, columns - half)  # fmt: skip
                if real and mode != 0:
                    finish(mode, to, n, rows, min(columns, rows_in_panel), p0, p1)
                row += rows

    made: Callable[..., None] = run
    return made


@native("integers2_i32(a, m, groups, group, n, packed, sums, zeros, step, factor, bias, y, mode, p0: f32, p1: f32)")
def integers2_i32(target: Target) -> Callable[..., None]:
    """i32 y[m, n] of s8 a[m, groups * group] and weights ``step * code + base`` with codes of two bits.

    ``sums`` i32[m, groups] and ``zeros`` i32[m] are of ``shift_rows``; ``packed`` has two facts (see ``layout``): base
    and the sum of the weights of a group. ``factor``, ``bias`` and an activation are not read.
    """
    return _integers(target, 2, real=False)


@native("integers4_i32(a, m, groups, group, n, packed, sums, zeros, step, factor, bias, y, mode, p0: f32, p1: f32)")
def integers4_i32(target: Target) -> Callable[..., None]:
    """As ``integers2_i32`` with codes of four bits."""
    return _integers(target, 4, real=False)


@native("integers2_f32(a, m, groups, group, n, packed, sums, zeros, step, factor, bias, y, mode, p0: f32, p1: f32)")
def integers2_f32(target: Target) -> Callable[..., None]:
    """As ``integers2_i32`` with f32 y: sums of groups times ``factor`` (an address) times scales, which are the third
    fact of ``packed``, plus ``bias``, padded to whole panels, and ``mode``, p0 and p1, an activation: see
    ``ronn_codegen.simd.modes``."""
    return _integers(target, 2, real=True)


@native("integers4_f32(a, m, groups, group, n, packed, sums, zeros, step, factor, bias, y, mode, p0: f32, p1: f32)")
def integers4_f32(target: Target) -> Callable[..., None]:
    """As ``integers2_f32`` with codes of four bits."""
    return _integers(target, 4, real=True)
