"""Plans of strided copies: tables of jobs for the kernel ``ronn_codegen.templates.copy``. Imports no compiler.

A job copies a box of elements. Its dims are sorted by the strides of the destination, joined where both sides allow,
and split into ``rows`` x ``columns``, which an inner loop of one kind does, and up to four outer dims. The shares of
threads are made of units: strips of ``height`` rows.

Fields of a job (int64): 0 weight of all jobs before, 1 weight of a unit, 2 units, 3 kind, 4 strips, 5 height, 6 rows,
7 columns, 8 slot of the source, 9 offset, 10 row stride, 11 column stride, 12-15 the same of the destination, then
(size, source stride, destination stride) of the outer dims, innermost first, and in 28 the size of
an element. Sizes, offsets and strides are in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from ronn.records import dataclass, field

FIELDS = 29
SLOTS = 9  # addresses that one call of the kernel takes
OUTER = 4
RUN, EACH, FILL, PLANE = range(4)  # kinds
REDUCTIONS = ("add", "mul", "max", "min")  # of scattered updates, and the types that they are computed in
REDUCTION_KINDS = ("f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
ACCUMULATED = ("f32", "f64", "i32", "i64")  # types of running sums and products
COUNTED_BLOCK = 4096  # elements that are counted at once before those that are not zero are listed; a multiple of 64
_UNIT = 4096  # bytes that a unit should have at least
_BLOCK = 512  # columns of a plane that are done at once
_STRIP = 64  # rows of a plane that are done at once: a multiple of every register tile


class Dim(NamedTuple):
    """A dim of a box with its strides, in bytes, in source and destination."""

    size: int
    source: int
    to: int


class Side(NamedTuple):
    """One side of a copy: which address, an offset from it, and a stride a dim (all in bytes)."""

    slot: int
    offset: int
    strides: tuple[int, ...]


@dataclass
class Copies:
    """Copies to be done by one call of the kernel. ``nanoseconds`` estimates one thread's time for them."""

    rows: list[list[int]] = field(default_factory=list)
    total: int = 0
    units: int = 0
    bytes: int = 0
    nanoseconds: float = 0.0

    def add(self, shape: Sequence[int], size: int, source: Side, to: Side) -> None:
        """A copy of a box of elements of ``size`` bytes (1, 2, 4, 8 or 16). The two sides must not overlap, and no two
        elements of the box may lie in one place of the destination."""
        if 0 in shape:
            return
        self.bytes += math.prod(shape) * size
        dims = [Dim(*d) for d in zip(shape, source.strides, to.strides, strict=True) if d[0] > 1]
        start = source.offset, to.offset
        flipped = []
        for d in dims:  # the destination is written upwards
            if d.to < 0:
                start = start[0] + (d.size - 1) * d.source, start[1] + (d.size - 1) * d.to
                d = Dim(d.size, -d.source, -d.to)
            flipped.append(d)
        dims, size = _joined(flipped, size)
        self._box(dims, size, Side(source.slot, start[0], ()), Side(to.slot, start[1], ()))

    def _box(self, dims: list[Dim], size: int, source: Side, to: Side) -> None:
        """``dims`` are joined, outermost first, and not empty."""
        *outer, columns = dims
        kind, limit = EACH, max(_UNIT // size, 1)
        rows = outer.pop() if outer else Dim(1, 0, 0)
        if columns.to == size and columns.source == size:
            kind, limit = RUN, _UNIT
            columns = Dim(columns.size * size, 1, 1)
        elif columns.to == size and columns.source == 0:
            kind = FILL
        elif columns.to == size and size <= 8:
            outer = dims[:-1]
            along = next((d for d in outer if d.source == size), None)
            if along is None:
                rows = outer.pop() if outer else rows
            else:
                outer.remove(along)
                rows, limit, kind = along, _BLOCK, PLANE
        if columns.size >= 2 * limit:  # blocks of columns become a dim; what is left over joins the last of them
            blocks = columns.size // limit - 1
            done = blocks * limit
            outer.append(Dim(blocks, limit * columns.source, limit * columns.to))
            rest = Side(source.slot, source.offset + done * columns.source, ())
            rest_to = Side(to.slot, to.offset + done * columns.to, ())
            self._outer(outer[:-1], rows, columns._replace(size=columns.size - done), kind, size, rest, rest_to)
            columns = columns._replace(size=limit)
        self._outer(outer, rows, columns, kind, size, source, to)

    def _outer(self, outer: list[Dim], rows: Dim, columns: Dim, kind: int, size: int, source: Side, to: Side) -> None:
        """One job, or one for each index of the outer dims that a job cannot hold."""
        spare = sorted(range(len(outer)), key=lambda i: outer[i].size)[: max(len(outer) - OUTER, 0)]
        kept = [d for i, d in enumerate(outer) if i not in spare]
        for index in product(*(range(outer[i].size) for i in spare)):
            at = source.offset + sum(n * outer[i].source for n, i in zip(index, spare, strict=True))
            at_to = to.offset + sum(n * outer[i].to for n, i in zip(index, spare, strict=True))
            self._job(kept, rows, columns, kind, size, (source.slot, at), (to.slot, at_to))

    def _job(
        self, outer: list[Dim], rows: Dim, columns: Dim, kind: int, size: int, source: tuple[int, int],
        to: tuple[int, int],
    ) -> None:  # fmt: skip
        element = 1 if kind == RUN else size
        height = _STRIP if kind == PLANE else max(1, _UNIT // (columns.size * element))
        strips = max(1, rows.size // height)
        each = 12 if kind == EACH else 2 * size if kind == PLANE else element
        weight = max(1, rows.size // strips) * columns.size * each
        units = strips * math.prod(d.size for d in outer)
        tail = [v for d in reversed(outer) for v in d] + [1, 0, 0] * (OUTER - len(outer))
        self.rows.append([
            self.total, weight, units, kind, strips, height, rows.size, columns.size,
            *source, rows.source, columns.source, *to, rows.to, columns.to, *tail, size,
        ])  # fmt: skip
        self.total += weight * units
        self.units += units
        self.nanoseconds += weight * units / 30 + 5 * units

    @property
    def table(self) -> np.ndarray:
        """int64[jobs, FIELDS]."""
        return np.array(self.rows, np.int64).reshape(-1, FIELDS)


def _joined(dims: list[Dim], size: int) -> tuple[list[Dim], int]:
    """The dims, at least one, sorted by the destination's strides and joined; elements as large as they can be."""
    dims = sorted(dims, key=lambda d: -d.to)
    found: list[Dim] = []
    for d in dims:
        if found and found[-1].to == d.to * d.size and found[-1].source == d.source * d.size:
            found[-1] = Dim(found[-1].size * d.size, d.source, d.to)
        else:
            found.append(d)
    while len(found) > 1 and found[-1].source == found[-1].to == size and size * found[-1].size in (2, 4, 8, 16):
        size *= found.pop().size
    return (found if found else [Dim(1, size, size)]), size


def contiguous(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """Strides in bytes of a row-major array."""
    strides, step = [], size
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))
