"""Tensors that are mostly a constant: triangles, one-hot vectors. Elements are moved as so many bytes."""

from __future__ import annotations

from collections.abc import Callable

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.copy import SIZES, copy_run
from ronn_codegen.templates.transpose import by_size, emit_move

_at, _at32, _float = peek("i64"), peek("i32"), peek("f32")
move = by_size(SIZES, 2, emit_move)


@native("trilu(x, y, zeros, k, upper, size, batches, rows, columns)")
def trilu(target: Target) -> Callable[..., None]:
    """The upper (else lower) triangle of x[batches, rows, columns] from the diagonal that stands at ``k`` (int64) on;
    the rest is copied from ``columns`` elements at ``zeros``."""
    runs = copy_run(target)

    def run(
        x: int, y: int, zeros: int, k: int, upper: int, size: int, batches: int, rows: int, columns: int, worker: int,
        workers: int,
    ) -> None:  # fmt: skip
        units = batches * rows
        shift = min(max(_at(k, 0), -rows - 1), columns + 1)
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            # The lower triangle holds the diagonal k too: it ends one behind.
            edge = min(max(unit % rows + shift + (0 if upper else 1), 0), columns) * size
            at, whole = unit * columns * size, columns * size
            first, second = (zeros, x + at) if upper else (x + at, zeros)
            runs(first, 0, y + at, 0, 1, edge)
            runs(second + edge, 0, y + at + edge, 0, 1, whole - edge)

    return njit(error_model="numpy", nogil=True)(run)


@native("one_hot(indices, values, y, kind, size, outer, depth, inner)")
def one_hot(target: Target) -> Callable[..., None]:
    """y[outer, index, inner] is values[1] for each of indices[outer, inner]; one out of range is left out. ``kind`` of
    the indices: 0 int32, 1 int64, 2 float32."""

    def run(
        indices: int, values: int, y: int, kind: int, size: int, outer: int, depth: int, inner: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        for o in range(outer * worker // workers, outer * (worker + 1) // workers):
            for i in range(inner):
                at = o * inner + i
                if kind == 2:
                    exact = _float(indices, at)
                    if not (-depth <= exact < depth and exact == int(exact)):
                        continue
                    found = int(exact)
                else:
                    found = _at(indices, at) if kind == 1 else _at32(indices, at)
                if found < 0:
                    found += depth
                if 0 <= found < depth:
                    move(size, values + size, y + ((o * depth + found) * inner + i) * size)

    return njit(error_model="numpy", nogil=True)(run)
