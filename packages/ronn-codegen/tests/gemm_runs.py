"""Runs the kernels of matrix products on arrays, with guard elements round everything that is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from ronn_codegen.native.library import Library, library
from ronn_codegen.native.machine import machine
from ronn_codegen.simd.modes import mode_of
from ronn_codegen.templates.gemm_shape import (
    ROW_ELEMENTS,
    ROW_VECTORS,
    block_of_steps,
    guard,
    last_step,
    packed_size,
    tile_of,
)

MODULE = "ronn_codegen.templates.gemm"
GUARD = np.float32(7.5)


def levels() -> list[str]:
    """The levels of instructions that this processor runs."""
    found = []
    for level in ("baseline", "avx2", "avx512"):
        try:
            machine(level)
        except ValueError:
            continue
        found.append(level)
    return found


LEVELS = levels()
each_level = pytest.mark.parametrize("level", LEVELS)


@dataclass(frozen=True)
class Epilogue:
    """alpha * A @ B + beta * source, then an activation."""

    alpha: float = 1.0
    beta: float = 1.0
    source: np.ndarray | None = None
    activation: str = ""
    params: tuple[float, ...] = ()


def source_of(e: Epilogue, columns: int) -> tuple[int, int]:
    """Kind and row stride of a source."""
    if e.source is None:
        return 0, 0
    return ROW_ELEMENTS if e.source.shape[-1] == 1 and columns > 1 else ROW_VECTORS, strides(e.source)[-2]


def strides(x: np.ndarray) -> tuple[int, ...]:
    return tuple(s // x.itemsize for s in x.strides)


def pack(level: str, b: np.ndarray, workers: int = 1) -> np.ndarray:
    """B[batch, K, N] as [batch, packed elements]."""
    lib, (batch, k, n) = library(level), b.shape
    size = packed_size(k, n, tile_of(lib.machine.target))
    out = np.full((batch, size + 16), GUARD)
    kernel = lib.kernel("ronn_codegen.templates.gemm_pack", "pack_f32")
    s = strides(b)
    for worker in range(workers):
        kernel(k, n, batch, b.ctypes.data, s[1], s[2], s[0], out.ctypes.data, size + 16, worker=worker, workers=workers)
    assert (out[:, size:] == GUARD).all()
    return out


def product(
    level: str, a: np.ndarray, b: np.ndarray, epilogue: Epilogue | None = None, *, packed: bool = True,
    workers: int = 1, kc: int | None = None, kernel_of: tuple[str, str] = (MODULE, "gemm_f32"),
) -> np.ndarray:  # fmt: skip
    """A[batch, M, K] @ B[batch, K, N] by the kernel."""
    e = Epilogue() if epilogue is None else epilogue
    lib: Library = library(level)
    tile = tile_of(lib.machine.target)
    (batch, m, k), n = a.shape, b.shape[2]
    c = np.full((batch, m + 1, n + 3), GUARD)
    kind, rows = source_of(e, n)
    source_batch = strides(e.source)[0] if e.source is not None and e.source.ndim == 3 else 0
    if packed:
        held = pack(level, b)
        place = (tile.columns, last_step(n, tile), k * tile.columns, 0)
    else:
        held = b
        row = strides(b)[1]
        place = (row, row, tile.columns, guard(k, n, row, tile))
    of = [np.arange(batch) * s for s in (strides(a)[0], strides(held)[0], strides(c)[0], source_batch)]
    offsets = np.ascontiguousarray(np.stack(of, 1), np.int64)
    kernel = lib.kernel(*kernel_of)
    source = 0 if e.source is None else e.source.ctypes.data
    for worker in range(workers):
        kernel(
            m, n, k, block_of_steps(m, k, tile) if kc is None else kc, batch, offsets.ctypes.data,
            a.ctypes.data, *strides(a)[1:], held.ctypes.data, *place, c.ctypes.data, n + 3,
            source, rows, kind, e.alpha, e.beta, *mode_of(e.activation, e.params),
            worker=worker, workers=workers,
        )  # fmt: skip
    assert (c[:, m] == GUARD).all() and (c[:, :, n:] == GUARD).all()  # nothing beyond C is written
    return c[:, :m, :n]


def product_bf16(
    level: str, a: np.ndarray, b: np.ndarray, epilogue: Epilogue | None = None, *, packed: bool = True,
    workers: int = 1,
) -> np.ndarray:  # fmt: skip
    """A[batch, M, K] @ B[batch, K, N], rounded and multiplied by the kernels of bfloat16."""
    (batch, m, k), n, lib = a.shape, b.shape[2], library(level)
    module, pairs = "ronn_codegen.templates.bf16", -(-a.shape[2] // 2)
    left, right = np.empty((batch, m, pairs), np.int32), np.empty((batch, pairs, n), np.int32)
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    lib.kernel(module, "bf16_pairs")(a.ctypes.data, left.ctypes.data, batch * m, k, k, pairs)
    lib.kernel(module, "bf16_row_pairs")(b.ctypes.data, right.ctypes.data, k, n, batch, n, k * n, pairs * n)
    made = ("ronn_codegen.templates.gemm_bf16", "gemm_bf16")
    return product(level, left, right, epilogue, packed=packed, workers=workers, kernel_of=made)


def dot(
    level: str, a: np.ndarray, x: np.ndarray, epilogue: Epilogue | None = None, *, across: bool = True,
    workers: int = 1,
) -> np.ndarray:  # fmt: skip
    """A[batch, M, K] @ X[batch, count, K]' by the kernel; ``across``: transposed, [batch, count, M]."""
    e = Epilogue() if epilogue is None else epilogue
    (batch, m, k), count = a.shape, x.shape[1]
    rows, columns = (count, m) if across else (m, count)
    y = np.full((batch, rows + 1, columns), GUARD)
    of = [np.arange(batch) * s for s in (strides(a)[0], strides(x)[0], (rows + 1) * columns, 0)]
    offsets = np.ascontiguousarray(np.stack(of, 1), np.int64)
    kernel = library(level).kernel("ronn_codegen.templates.gemv", "dot_f32")
    kind, source_row = source_of(e, columns)
    for worker in range(workers):
        kernel(
            m, count, k, batch, offsets.ctypes.data, a.ctypes.data, strides(a)[1], x.ctypes.data, strides(x)[1],
            y.ctypes.data, *((1, columns) if across else (columns, 1)),
            0 if e.source is None else e.source.ctypes.data, source_row, kind,
            e.alpha, e.beta, *mode_of(e.activation, e.params), worker=worker, workers=workers,
        )  # fmt: skip
    assert (y[:, rows] == GUARD).all()
    return y[:, :rows]
