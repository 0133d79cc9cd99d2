"""Matrices in operands, by strides, and arrays whose elements belong to those of a product."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn.ir.types import DType
from ronn.records import dataclass, replace
from ronn_codegen.clike.templates.gemm import size
from ronn_codegen.lowering import Operand, Temporary


@dataclass(frozen=True)
class Matrix:
    """Matrices ``rows x columns`` in an operand, one for each index of ``batch``. ``row``, ``column``, ``steps`` (along
    each axis of the batch) and ``start`` are strides and an offset in elements. ``kind``: the type of its elements as
    the loop language calls it; that of the operand by default."""

    operand: Operand | Temporary
    rows: int
    columns: int
    row: int
    column: int
    batch: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    start: int = 0
    kind: str = ""

    @property
    def stored(self) -> str:
        """What memory holds."""
        return self.kind if self.kind else kind_of(self.operand)

    @property
    def transposed(self) -> Matrix:
        return replace(self, rows=self.columns, columns=self.rows, row=self.column, column=self.row)

    def offsets(self, batch: tuple[int, ...]) -> np.ndarray:
        """int64[batch]: where the matrix of each index of a broadcast batch begins, behind ``start``."""
        return offsets_of(self.batch, self.steps, batch)

    @property
    def place(self) -> Any:
        """Where the first begins."""
        return self.operand.at(self.start * size(self.stored)) if self.start else self.operand


def kind_of(operand: Operand | Temporary) -> str:
    """The loop language's name of an operand's elements."""
    if isinstance(operand, Temporary):
        raise TypeError("scratch memory has no type of its own")
    dtype = operand.value.dtype
    assert isinstance(dtype, DType)
    return dtype.short


def matrix(x: Operand, *, transposed: bool = False) -> Matrix:
    """The last two dims of an operand as matrices; of vectors the one dim is a row."""
    *batch, rows, columns = x.shape if x.rank > 1 else (1, *x.shape)
    made = Matrix(x, rows, columns, columns, 1, tuple(batch), steps_of(batch, rows * columns))
    return made.transposed if transposed else made


def steps_of(batch: Any, last: int) -> tuple[int, ...]:
    return tuple([math.prod(batch[i + 1 :]) * last for i in range(len(batch))])


def offsets_of(own: tuple[int, ...], steps: tuple[int, ...], batch: tuple[int, ...]) -> np.ndarray:
    made = np.zeros(own, np.int64)
    for axis, (dim, step) in enumerate(zip(own, steps, strict=True)):
        made += (np.arange(dim, dtype=np.int64) * step).reshape((-1,) + (1,) * (len(own) - axis - 1))
    return np.ascontiguousarray(np.broadcast_to(made, batch)).reshape(-1)


@dataclass(frozen=True)
class Source:
    """An array whose element (i, j) belongs to element (i, j) of a product: ``i * row + j * column``, in elements;
    ``batch`` and ``steps`` as of a matrix."""

    operand: Operand | Temporary | np.ndarray
    row: int
    column: int
    batch: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    kind: str = ""

    @property
    def stored(self) -> str:
        if self.kind:
            return self.kind
        return kind_of_array(self.operand) if isinstance(self.operand, np.ndarray) else kind_of(self.operand)


def strided(data: np.ndarray, m: Matrix) -> np.ndarray:
    """The matrices that an operand's array holds: [batch, rows, columns]."""
    size, flat = data.itemsize, np.ascontiguousarray(data).reshape(-1)[m.start :]
    shape = (*m.batch, m.rows, m.columns)
    strides = [s * size for s in (*m.steps, m.row, m.column)]
    return np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False).reshape(-1, m.rows, m.columns)


def kind_of_array(array: np.ndarray) -> str:
    return DType.of(array.dtype).short


def source(x: Operand) -> Source:
    """An operand that broadcasts to the rows and columns of a product, and dims in front of them to its batch."""
    *batch, high, wide = (1, 1, *x.shape)[-max(x.rank, 2) :]
    steps = tuple(0 if d == 1 else s for d, s in zip(batch, steps_of(batch, high * wide), strict=True))
    return Source(x, wide if high > 1 else 0, 1 if wide > 1 else 0, tuple(batch), steps)


def below(own: tuple[int, ...], steps: tuple[int, ...], row: int, rows: int, batch: tuple[int, ...]) -> bool:
    """Whether the matrices of a batch stand below each other, ``row`` elements from one row to the next."""
    if math.prod(own) == 1:
        return row == 0 or math.prod(batch) == 1
    step = rows * row
    for dim, given in zip(reversed(own), reversed(steps), strict=True):
        if dim != 1 and given != step:
            return False
        step *= dim
    return own == batch or (1,) * (len(batch) - len(own)) + own == batch
