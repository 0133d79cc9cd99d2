"""Matrix products in float32: C = activation(alpha * A @ B + beta * source), for any strides of A, and batches.

B is read in panels of ``Tile.columns`` columns. A *packed* B holds them one after the other, each row by row
(``[N / nr][K][nr]``; the last panel is only as wide as its columns need, rounded up to whole vectors, zero beyond N).
A row-major B can be read where it lies. The inner kernel keeps an ``mr`` x ``nr`` tile of C in registers.

K is cut into blocks of ``kc``, so that a panel's block stays in the second-level cache while the tiles of a block of
rows pass over it; sums continue in C from block to block, and the order of additions depends on the shape alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.modes import CLAMP
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import FACTORS, Terms
from ronn_codegen.templates.gemm_bytes import narrow_product
from ronn_codegen.templates.gemm_shape import ROW_ELEMENTS, ROW_VECTORS, tile_of
from ronn_codegen.templates.gemm_tile import CLAMPED, DISTANT, LINE, STREAMED, combine_call, tile_call

SIZES = {"f32": 4, "f64": 8}  # bytes
ROWS = 32  # tiles of a block of rows at most: with 1024 steps they take three quarters of the second-level cache

MEMORY = 12 << 20  # bytes from which on a B is taken not to lie in any cache
CACHE = 1 << 19  # bytes from which on it does not lie in the second-level cache
AHEAD = 4096  # bytes that it is fetched before it is needed


@native(
    "gemm_f32(m, n, k, kc, batch, offsets, a, a_row, a_step, b, b_step, b_last, b_panel, tail, c, c_row,"
    " source, source_row, source_kind, alpha: f32, beta: f32, mode, p0: f32, p1: f32)"
)
def gemm_f32(target: Target) -> Callable[..., None]:
    """Strides and offsets in elements. ``offsets`` is 0 or the address of int64[batch, 4], which are added to a, b, c
    and source. Row k of panel q lies at ``b + q * b_panel + k * b_step`` (``b_last`` in the last panel); in the last
    ``tail`` rows of the last panel nothing is read beyond column n. ``source_kind``: 0 none, 1 rows of n elements, 2
    one element a row; ``source_row`` may be 0. ``mode``, p0 and p1: see ``ronn_codegen.simd.modes``.
    """
    return product(target, "f32", activate(target.lanes(32)))


@native(
    "gemm_bytes_f32(m, n, k, kc, a, a_row, w, scale, c, c_row, source, source_kind, mode, p0: f32, p1: f32, room,"
    " apart)"
)
def gemm_bytes_f32(target: Target) -> Callable[..., None]:
    """C[m, n] of A[m, k] and W[k, n]; strides in elements. scale[n], padded to whole vectors; ``source_kind``: 0, or 1
    for a row of n elements that is added. ``mode``, p0 and p1: see ``ronn_codegen.simd.modes``. room: scratch of
    ``kc`` rows of a panel for each worker, ``apart`` bytes from one to the next. Work is shared by panels."""
    return narrow_product(target, "i8")


@native(
    "gemm_halves_f32(m, n, k, kc, a, a_row, w, scale, c, c_row, source, source_kind, mode, p0: f32, p1: f32, room,"
    " apart)"
)
def gemm_halves_f32(target: Target) -> Callable[..., None]:
    """As ``gemm_bytes_f32`` with weights of bfloat16, packed as for ``gemm_bf16``; ``scale`` is 0, ``kc`` even."""
    return narrow_product(target, "i32")


def product(target: Target, elem: str, finish: Any, terms: Terms = FACTORS) -> Callable[..., None]:
    """The kernel for an element type of C, and operands that are what ``terms`` multiply; ``finish`` is
    ``ronn_codegen.simd.activation.activate`` for it."""
    shape = tile_of(target, SIZES[elem] * 8)
    mr, nr, narrow = shape.rows, shape.columns, shape.vectors // 2 * shape.lanes
    multiply, combine = tile_call(shape, elem, terms), combine_call(shape.lanes, elem)
    offset, size = peek("i64"), SIZES[elem]
    lines = max(nr * size // LINE, 1)

    @njit(error_model="numpy", nogil=True)
    def run(
        m: int, n: int, k: int, kc: int, batch: int, offsets: int, a: int, a_row: int, a_step: int,
        b: int, b_step: int, b_last: int, b_panel: int, tail: int, c: int, c_row: int,
        source: int, source_row: int, source_kind: int, alpha: Any, beta: Any, mode: int, p0: Any, p1: Any,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        panels = (n + nr - 1) // nr
        most = 2 * mr if n <= narrow else mr
        tiles = (m + most - 1) // most
        # A small B stays in the cache however C is written: row after row is best for large ones.
        blocks = tiles if panels > 1 and size * k * n <= CACHE // 2 else (tiles + ROWS - 1) // ROWS
        block = (tiles + blocks - 1) // blocks
        even, odd = m // tiles, m % tiles  # the first tiles have a row more
        product = panels * tiles
        # One tile of rows reads B from memory itself. Else the first ones fetch the panel that comes next, each a line
        # of its rows.
        far = size * k * n > (MEMORY if tiles == 1 else CACHE)
        simple = alpha == 1 and (source_kind == 0 or (source_kind == ROW_VECTORS and beta == 1))
        start_flags = source_kind if simple else 0
        distant = DISTANT if size * m * n > CACHE // 2 else 0
        clamped = CLAMPED if simple and mode == CLAMP else 0
        rest = 0 if clamped else mode
        end = batch * product * (worker + 1) // workers
        at = batch * product * worker // workers
        while at < end:
            # The next piece: tiles [at, stop) of the block of rows that starts with tile t0, panel by panel.
            e = at // product
            t0 = (at - e * product) // (block * panels) * block
            height = min(block, tiles - t0)
            first = e * product + t0 * panels
            stop = min(end, first + height * panels)
            ea, eb, ec, es = a, b, c, source
            if offsets != 0:
                ea += size * offset(offsets, 4 * e)
                eb += size * offset(offsets, 4 * e + 1)
                ec += size * offset(offsets, 4 * e + 2)
                es += size * offset(offsets, 4 * e + 3)
            p = 0
            while p == 0 or p < k:
                steps = min(kc, k - p)
                done = p + steps >= k
                flags = distant | (start_flags if p == 0 else ROW_VECTORS) | (clamped if done else 0)
                i = at - first
                while i < stop - first:
                    q = i // height
                    t = i - q * height
                    t_end = min(height, t + stop - first - i)
                    i += t_end - t
                    j = q * nr
                    columns = min(nr, n - j)
                    last = q == panels - 1
                    step = b_last if last else b_step
                    guarded = min(steps, max(0, p + steps - (k - tail))) if last else 0
                    panel = eb + size * (q * b_panel + p * step)
                    beyond = size * (steps * step if last else b_panel)
                    for tile in range(t0 + t, t0 + t_end):
                        row = tile * even + min(tile, odd)
                        rows = even + (1 if tile < odd else 0)
                        to = ec + size * (row * c_row + j)
                        added = es + size * (row * source_row + (0 if source_kind == ROW_ELEMENTS else j))
                        left = ea + size * (row * a_row + p * a_step)
                        turn = tile - t0
                        fetch = AHEAD if tiles == 1 else beyond + turn * LINE
                        multiply(
                            rows, columns, steps, guarded, left, a_row, a_step, panel, step, to, c_row,
                            to if p > 0 else added, c_row if p > 0 else source_row,
                            flags | (STREAMED if far and turn < lines else 0), fetch, LINE if tiles == 1 else 0, p0, p1,
                        )  # fmt: skip
                        if done:
                            if not simple:
                                combine(rows, columns, to, c_row, added, source_row, source_kind, alpha, beta)
                            if rest:
                                finish(rest, to, c_row, rows, columns, p0, p1)
                p += kc
            at = stop

    return run
