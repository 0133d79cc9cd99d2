"""Products of signs with weights of one bit: exclusive or and counts of bits (XNOR-Net, Rastegari et al., 2016).

Of K signs on both sides that differ in d places the product is ``K - 2 * d``. A lane is a row of weights, the words of
activations enter as broadcasts. Signs that may be 0 have two planes, one that takes 0 for 1 and one that takes it for
-1: half the sum of their products is that of -1, 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.emit import llvm_call, splat
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import (
    I64,
    at,
    broadcast,
    choose,
    emitted,
    load,
    mask_of,
    multiply_add,
    pointer,
    scaled,
    store,
    when,
)
from ronn_codegen.simd.types import Vec
from ronn_provider_bitnet.kernels.mismatches import Mismatches
from ronn_provider_bitnet.kernels.sign_layout import VECTORS, panel_rows

_flag = peek("i32")


def heights(target: Target, planes: int) -> tuple[int, ...]:
    """Rows of activations of the tiles that there are, the lowest first."""
    many = target.registers >= 32
    if planes == 2:
        return (1, 2, 3) if many else (1,)
    return (1, 2, 5) if many else (1, 2)


def tile_of(target: Target, planes: int, running: bool) -> Any:
    """The intrinsic (which, segments, offsets, steps, a, a_row, plane, packed, sums, sum_at, sum_step, factor,
    factor_step, bias, y, y_row, columns) for a tile of ``heights[which]`` rows by one panel.

    Segments of ``steps`` pairs of words lie at ``a + row * a_row + plane_number * plane + offsets[i]``. ``sums`` are
    i32 vectors: what a product would be without a difference; row r reads those at the i32 ``sum_at[r]`` bytes. A
    product is multiplied with the panel's scales and the row's f32 factor, then the bias is added. The steps lead from
    row to row, in bytes. Only the first ``columns`` columns are stored.
    """
    counted, lanes = Mismatches(target, running), target.lanes(32)
    floats, ints = Vec("f32", lanes), Vec("i32", lanes)
    across = 4 * lanes

    def emit(
        b: Any, which: Any, segments: Any, offsets: Any, steps: Any, a: Any, a_row: Any, plane: Any, packed: Any,
        sums: Any, sum_at: Any, sum_step: Any, factor: Any, factor_step: Any, bias: Any, y: Any, y_row: Any,
        columns: Any,
    ) -> None:  # fmt: skip
        def tile(rows: int) -> None:
            start, scales = pointer(b, a), pointer(b, packed)
            places = [
                [at(b, at(b, start, scaled(b, a_row, r)), scaled(b, plane, p)) for p in range(planes)]
                for r in range(rows)
            ]
            body = at(b, scales, VECTORS * across)
            found = counted.counts(b, segments, pointer(b, offsets), steps, places, body)
            for r, row in enumerate(found):
                place = b.load(at(b, pointer(b, sum_at), scaled(b, sum_step, r)), typ=ir.IntType(32), align=4)
                most = at(b, pointer(b, sums), b.sext(place, I64))
                finish(row, most, at(b, pointer(b, factor), scaled(b, factor_step, r)), r)

        def finish(row: list[Any], most: Any, factor_place: Any, r: int) -> None:
            by_row = broadcast(b, floats, factor_place)
            to = at(b, pointer(b, y), scaled(b, y_row, r))
            largest, values = [], []
            for v, differing in enumerate(row):
                largest.append(load(b, ints, at(b, most, v * across)))
                values.append(b.sub(largest[v], differing if planes == 2 else b.add(differing, differing)))
            scales = [load(b, floats, at(b, pointer(b, packed), v * across)) for v in range(VECTORS)]
            begins = [load(b, floats, at(b, pointer(b, bias), v * across)) for v in range(VECTORS)]
            results = []
            for value, scale, begin in zip(values, scales, begins, strict=True):
                product = b.fmul(b.sitofp(value, floats.llvm), scale)
                results.append(multiply_add(b, floats, product, by_row, begin))
            infinite = b.fcmp_ordered(
                "==", llvm_call(b, "llvm.fabs.f32", ir.FloatType(), b.load(factor_place, typ=ir.FloatType(), align=4)),
                ir.Constant(ir.FloatType(), float("inf")),
            )  # fmt: skip

            def of_infinities(given: list[Any]) -> list[Any]:
                """Infinities of both signs add up to NaN: sums of one sign alone are what they are."""
                out = []
                for result, value, high in zip(given, values, largest, strict=True):
                    size = llvm_call(b, f"llvm.abs.v{lanes}i32", ints.llvm, value, ir.Constant(ir.IntType(1), 0))
                    nan = splat(b, ir.Constant(ir.FloatType(), float("nan")), lanes)
                    out.append(b.select(b.icmp_signed("==", size, high), result, nan))
                return out

            for v, value in enumerate(when(b, infinite, results, of_infinities)):
                rest = b.sub(columns, I64(v * lanes))
                with b.if_else(b.icmp_signed(">=", rest, I64(lanes))) as (full, part):
                    with full:
                        store(b, floats, value, at(b, to, v * across))
                    with part:
                        store(b, floats, value, at(b, to, v * across), mask_of(b, rest, lanes))

        choose(b, which, [partial(tile, rows) for rows in heights(target, planes)])

    return emitted(f"xnor{planes}_{int(running)}_{target.name}", " ".join(["i64"] * 17), emit)


def chooser(target: Target, planes: int) -> Any:
    """Of rows that are left, which tile is next: (left) -> number of ``heights``."""
    _, *more = heights(target, planes)
    second, third = (*more, 1 << 30, 1 << 30)[:2]

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def which(left: Any) -> Any:
        return 2 if left >= third else 1 if left >= second else 0

    return which


def height_of(target: Target, planes: int) -> Any:
    """How many rows tile ``which`` has."""
    first, *more = heights(target, planes)
    second, third = (*more, 1, 1)[:2]

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def rows(which: Any) -> Any:
        return third if which == 2 else second if which == 1 else first

    return rows


@native("xnor_rows(a, zeros, factor, m, steps, n, packed, sums, sum_at, bias, bias_step, y, mode, p0: f32, p1: f32)")
def xnor_rows(target: Target) -> Callable[..., None]:
    """y[m, n] = factor[m] * (a @ weights) + bias, of signs a[2, m, 2 * steps] in words and ``pack_signs`` weights.

    ``zeros`` is i32[m], not 0 where a row has zeros, whose second plane then counts; address 0: none has. ``sums`` are
    K for a panel. ``sum_at`` is an i32 of 0. ``bias`` is padded to whole panels, which are ``bias_step`` bytes apart.
    ``mode``, p0 and p1 are an activation: see ``ronn_codegen.simd.modes``.
    """
    plain, masked, finish = tile_of(target, 1, True), tile_of(target, 2, True), activate(target.lanes(32))
    which_plain, which_masked = chooser(target, 1), chooser(target, 2)
    high_plain, high_masked = height_of(target, 1), height_of(target, 2)
    rows_in_panel, most = panel_rows(target), heights(target, 1)[-1]

    @njit(error_model="numpy", nogil=True)
    def run(
        a: Any, zeros: Any, factor: Any, m: Any, steps: Any, n: Any, packed: Any, sums: Any, sum_at: Any, bias: Any,
        bias_step: Any, y: Any, mode: Any, p0: Any, p1: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        line = 8 * steps
        plane = m * line
        panels, units = (n + rows_in_panel - 1) // rows_in_panel, (m + most - 1) // most
        size = 4 * rows_in_panel * (1 + 2 * steps)
        for work in range(panels * units * worker // workers, panels * units * (worker + 1) // workers):
            p, row = work // units, work % units * most
            last = min(row + most, m)
            first = p * rows_in_panel
            columns = n - first
            while row < last:
                with_zeros, end = False, last
                if zeros != 0:
                    with_zeros, end = _flag(zeros, row) != 0, row + 1
                    while end < last and (_flag(zeros, end) != 0) == with_zeros:
                        end += 1
                to = y + 4 * (row * n + first)
                if with_zeros:
                    which = which_masked(end - row)
                    high = high_masked(which)
                    masked(which, 1, 0, steps, a + row * line, line, plane, packed + p * size, sums, sum_at, 0,
                           factor + 4 * row, 4, bias + p * bias_step, to, 4 * n, columns)  # fmt: skip
                else:
                    which = which_plain(end - row)
                    high = high_plain(which)
                    plain(which, 1, 0, steps, a + row * line, line, plane, packed + p * size, sums, sum_at, 0,
                          factor + 4 * row, 4, bias + p * bias_step, to, 4 * n, columns)  # fmt: skip
                if mode != 0:
                    finish(mode, to, n, high, min(columns, rows_in_panel), p0, p1)
                row += high

    made: Callable[..., None] = run
    return made
