"""Packing of the right operand of matrix products into panels; see ``ronn_codegen.templates.gemm``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.gemm_shape import tile_of
from ronn_codegen.templates.reorder import transposer

_STEPS = 128  # rows of B of one unit of work: a multiple of every lane count


@cache
def _copier(lanes: int, vectors: int) -> Any:
    """``fn(source, source_step, target, target_step, steps, columns)``: rows of a panel, zero beyond the columns."""
    vector = VectorType("f32", lanes)
    load, load_first, store = vector.load, vector.load_first, vector.store

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def copy(source: int, source_step: int, target: int, target_step: int, steps: int, columns: int) -> None:
        whole = columns // lanes
        rest = columns - whole * lanes
        for _ in range(steps):
            for j in range(whole):
                store(target, j * lanes, load(source, j * lanes))
            if rest > 0:
                store(target, whole * lanes, load_first(source, whole * lanes, rest))
            source += 4 * source_step
            target += 4 * target_step

    return copy


@native("pack_f32(k, n, batch, b, b_row, b_column, b_batch, packed, packed_batch)")
def pack_f32(target: Target) -> Callable[..., None]:
    """Packs ``batch`` matrices B[k, n]; one of the strides ``b_row`` and ``b_column`` is 1 (all in elements)."""
    shape = tile_of(target)
    lanes, nr = shape.lanes, shape.columns
    copy = _copier(lanes, shape.vectors)
    transpose, _, transpose_part = transposer(lanes)

    @njit(error_model="numpy", nogil=True)
    def run(
        k: int, n: int, batch: int, b: int, b_row: int, b_column: int, b_batch: int, packed: int, packed_batch: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        panels, blocks = (n + nr - 1) // nr, (k + _STEPS - 1) // _STEPS
        units = batch * panels * blocks
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            block = unit % blocks
            q = unit // blocks % panels
            e = unit // (blocks * panels)
            columns = min(nr, n - q * nr)
            step = (columns + lanes - 1) // lanes * lanes
            p = block * _STEPS
            steps = min(_STEPS, k - p)
            source = b + 4 * (e * b_batch + q * nr * b_column + p * b_row)
            to = packed + 4 * (e * packed_batch + q * nr * k + p * step)
            if b_column == 1:
                copy(source, b_row, to, step, steps, columns)
                continue
            for j in range(0, columns, lanes):
                for i in range(0, steps, lanes):
                    at, put = source + 4 * (j * b_column + i), to + 4 * (i * step + j)
                    if columns - j >= lanes and steps - i >= lanes:
                        transpose(at, b_column, put, step)
                    else:
                        left = min(lanes, steps - i)
                        transpose_part(at, b_column, put, step, min(lanes, columns - j), left, left, lanes)

    return run
