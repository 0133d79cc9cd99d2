"""Integer products whose right side is no constant matrix: it is packed at each run, one product for each pair of
matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ronn_codegen.lower._copies import emit
from ronn_codegen.templates.int8_pack import Int8Tile, pack, tile_of
from ronn_codegen.templates.jobs import Copies, Side
from ronn_provider_cpu.lower import _int8 as q
from ronn_provider_cpu.lowering import I8, U8, Lowering, Operand, Temporary

MOST = 256
"""Products that one node is cut into at most."""


def products(
    c: Lowering, left: Operand | Temporary, a: Operand, b: Operand, zero: int
) -> Iterator[tuple[q.Left, q.Right, int]]:
    """The products that a @ b is made of: both sides, and the element of the output that they begin at.

    ``left`` are the bytes of ``a``, unsigned; ``zero`` is the zero point of b as signed bytes.
    """
    c.require(a.rank >= 2 and b.rank >= 2, "a side is a vector")
    c.require(b.dtype in (I8, U8), f"{b.dtype} on the right")
    (m, k), n = a.shape[-2:], b.shape[-1]
    c.require(k * 128 * 255 < 2**31, "sums that int32 does not hold")
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    lefts, rights = _numbers(a.shape[:-2], batch), _numbers(b.shape[:-2], batch)
    if math.prod(b.shape[:-2]) == 1:  # all rows at once
        m, lefts, rights = m * lefts.size, np.zeros(1, np.int64), np.zeros(1, np.int64)
    c.require(lefts.size <= MOST, f"{lefts.size} products")
    rows = q.matrix(c, left, a.size // k, k)
    found = _rights(c, b, zero)
    for i, (one, two) in enumerate(zip(lefts.tolist(), rights.tolist(), strict=True)):
        place = rows.place if one == 0 else rows.place.at(one * m * k)
        yield q.Left(place, q.matrix_table(m, k), m, k=k), found[two], i * m * n


def _numbers(own: tuple[int, ...], batch: tuple[int, ...]) -> np.ndarray:
    """For each item of a batch the number of the matrix of one side."""
    return np.ascontiguousarray(np.broadcast_to(np.arange(math.prod(own)).reshape(own), batch)).reshape(-1)


def _rights(c: Lowering, b: Operand, zero: int) -> list[q.Right]:
    """Each matrix of b, packed: here where b is constant, else at each run."""
    tile = tile_of(c.machine.target)
    (k, n), count = b.shape[-2:], math.prod(b.shape[:-2])
    lanes = -(-n // tile.lanes) * tile.lanes
    each = -(-k // 4) * 4 * lanes
    zeros = None if zero == 0 else np.full(n, zero, np.int32)
    places: list[q.Argument]
    if b.data is not None:
        places = [c.packed(b, ("int8 matrix", tile, i), _packing(i, tile)) for i in range(count)]
    else:
        packed = c.temp(each * count + q.SLACK)
        _pack(c, b, packed, tile, each)
        places = [packed.at(i * each) if i else packed for i in range(count)]
    ones = q.Left(np.ones(-(-k // 4) * 4 + q.SLACK, np.uint8), q.matrix_table(1, 0), 1, k=k)
    found = []
    for place in places:
        sums = c.temp(4 * lanes + q.SLACK)
        plain = q.Right(place, np.zeros(n, np.int32), n, 1, tile)
        q.to_words(c, ones, plain, sums, 4 * n, raw=True, init=-k * zero)
        found.append(q.Right(place, sums, n, 1, tile, zeros))
    return found


def _packing(i: int, tile: Int8Tile) -> q.Argument:
    def fn(w: np.ndarray) -> np.ndarray:
        one = w.reshape(-1, *w.shape[-2:])[i]
        return pack((one.astype(np.int16) - (128 if w.dtype == np.uint8 else 0)).astype(np.int8)[None], tile)

    return fn


def _pack(c: Lowering, b: Operand, packed: Temporary, tile: Int8Tile, each: int) -> None:
    """Copies of the elements to where ``int8_pack.pack`` has them."""
    source: Operand | Temporary = b
    if b.dtype == U8:
        source = c.temp(b.size)
        q.lut(c, b, source, b.size, q.FLIP)
    (k, n), count = b.shape[-2:], math.prod(b.shape[:-2])
    groups, width = -(-k // 4), -(-n // tile.lanes) * tile.lanes
    copies = Copies()
    if k % 4 or n != width:
        copies.add((count * each,), 1, Side(2, 0, (0,)), Side(1, 0, (1,)))
        emit(c, copies, [source, packed, q.NOTHING])
        copies = Copies()
    for first in range(0, width, tile.columns):
        line = min(tile.columns, width - first) * 4  # bytes of four rows of the panel
        some, at = min(tile.columns, n - first), groups * 4 * first
        whole = k // 4
        copies.add((count, whole, some, 4), 1, Side(0, first, (k * n, 4 * n, 1, n)), Side(1, at, (each, line, 4, 1)))
        if k % 4:
            copies.add(
                (count, some, k % 4), 1, Side(0, first + 4 * whole * n, (k * n, 1, n)),
                Side(1, at + whole * line, (each, 4, 1)),
            )  # fmt: skip
    emit(c, copies, [source, packed])
