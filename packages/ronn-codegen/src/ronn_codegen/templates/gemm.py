"""Matrix product template: C[M, N] = A[M, K] @ B[K, N] in float32, with B packed once into panels.

A panel holds ``nr`` columns of B for ``kc`` rows, row by row, so that the inner kernel reads it in order; A is read
where it lies (row major, any row stride). The inner kernel keeps an ``mr`` x ``nr`` tile of C in registers: per step of
k it loads ``nr`` values of B once and ``mr`` values of A as broadcasts, for ``mr * nr`` multiply-adds.

Panels of one block of k lie side by side: ``packed[k // kc][n // nr][k % kc][n % nr]``, zero beyond N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.target import Target

KC = 256  # rows of B in a panel: kc * nr floats stay in the second-level cache


@dataclass(frozen=True)
class Tile:
    """The register tile: ``rows`` of C by ``vectors`` of ``lanes`` columns."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


def tile_of(target: Target) -> Tile:
    """The tile whose accumulators, one row of B and one broadcast fill the registers of ``target``."""
    lanes = target.lanes(32)
    return Tile(6, 4, lanes) if target.registers >= 32 else Tile(6, 2, lanes)


def packed_size(k: int, n: int, tile: Tile) -> int:
    """Elements of the packed form of B[k, n]."""
    return k * -(-n // tile.columns) * tile.columns


def pack(b: np.ndarray, tile: Tile) -> np.ndarray:
    """B[K, N] (float32, any strides) as panels; see the module's text."""
    k, n = b.shape
    nr = tile.columns
    panels = -(-n // nr)
    padded = np.zeros((k, panels * nr), np.float32)
    padded[:, :n] = b
    blocks = [padded[at : at + KC].reshape(-1, panels, nr).transpose(1, 0, 2).reshape(-1) for at in range(0, k, KC)]
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def _inner_source(rows: int, vectors: int, lanes: int, masked: bool) -> str:
    """One register tile: c[rows, nr] (+)= a[rows, kc] @ panel[kc, nr]. ``masked`` stores only the first columns."""
    r, v, nr = range(rows), range(vectors), vectors * lanes
    out = ["def inner(kc, a, lda, panel, c, ldc, columns, accumulate):"]
    out += [f"    acc{i}_{j} = splat(zero)" for i in r for j in v]
    out += [f"    row{i} = a + 4 * {i} * lda" for i in r]
    out += ["    for k in range(kc):"]
    out += [f"        b{j} = load(panel, k * {nr} + {j * lanes})" for j in v]
    for i in r:
        out += [f"        x = broadcast(row{i}, k)"]
        out += [f"        acc{i}_{j} = fma(x, b{j}, acc{i}_{j})" for j in v]
    for i in r:
        for j in v:
            at = f"{i} * ldc + {j * lanes}"
            if masked:
                left = f"columns - {j * lanes}"
                out += [f"    if {left} > 0:"]
                out += ["        if accumulate:"]
                out += [f"            acc{i}_{j} = add(acc{i}_{j}, load_first(c, {at}, {left}))"]
                out += [f"        store_first(c, {at}, acc{i}_{j}, {left})"]
            else:
                out += ["    if accumulate:", f"        acc{i}_{j} = add(acc{i}_{j}, load(c, {at}))"]
                out += [f"    store(c, {at}, acc{i}_{j})"]
    return "\n".join(out) + "\n"


def _inner(tile: Tile, rows: int, masked: bool) -> Callable[..., None]:
    vector = VectorType("f32", tile.lanes)
    scope: dict[str, Any] = {
        "splat": vector.splat, "load": vector.load, "load_first": vector.load_first, "store": vector.store,
        "store_first": vector.store_first, "broadcast": vector.broadcast, "fma": ops.fma, "add": ops.add,
        "zero": np.float32(0),
    }  # fmt: skip
    exec(_inner_source(rows, tile.vectors, tile.lanes, masked), scope)
    made: Callable[..., None] = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)(scope["inner"])
    return made


@cache
def gemm(tile: Tile) -> Callable[..., None]:
    """``fn(m, n, k, a, lda, packed, c, ldc, worker, workers)``: addresses as integers, strides in elements.

    Each of ``workers`` threads calls it with its own number and computes its share: whole panels where there are at
    least as many as threads, else whole row tiles.
    """
    mr, nr = tile.rows, tile.columns
    kernels = {(rows, masked): _inner(tile, rows, masked) for rows in range(1, mr + 1) for masked in (False, True)}
    scope: dict[str, Any] = {"kc_max": KC, "mr": mr, "nr": nr, "min": min}
    calls = []
    for rows in range(mr, 0, -1):
        scope[f"full{rows}"], scope[f"part{rows}"] = kernels[rows, False], kernels[rows, True]
        test = "if" if rows == mr else "elif"
        args = "kc, a + 4 * (i * lda + p), lda, panel, c + 4 * (i * ldc + j), ldc, n - j, p > 0"
        calls += [
            f"                {test} left {'>=' if rows == mr else '=='} {rows}:",
            f"                    if n - j >= nr: full{rows}({args})",
            f"                    else: part{rows}({args})",
        ]
    source = "\n".join([
        "def run(m, n, k, a, lda, packed, c, ldc, worker, workers):",
        "    panels = (n + nr - 1) // nr",
        "    tiles = (m + mr - 1) // mr",
        "    p0, p1, t0, t1 = 0, panels, 0, tiles",
        "    if panels >= workers:",
        "        p0, p1 = panels * worker // workers, panels * (worker + 1) // workers",
        "    else:",
        "        t0, t1 = tiles * worker // workers, tiles * (worker + 1) // workers",
        "    for p in range(0, k, kc_max):",
        "        kc = min(kc_max, k - p)",
        "        for q in range(p0, p1):",
        "            j = q * nr",
        "            panel = packed + 4 * (p * panels * nr + q * kc * nr)",
        "            for t in range(t0, t1):",
        "                i = t * mr",
        "                left = m - i",
        *calls,
    ])  # fmt: skip
    exec(source + "\n", scope)
    made: Callable[..., None] = njit(error_model="numpy", nogil=True)(scope["run"])
    return made


@native("gemm_f32(m, n, k, a, lda, packed, c, ldc)")
def gemm_f32(target: Target) -> Callable[..., None]:
    """The product with the tile of ``target``."""
    return gemm(tile_of(target))
