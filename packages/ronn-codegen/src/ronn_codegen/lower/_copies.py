"""What lowerings that only move elements share: planning copies between operands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from ronn_codegen.lowering import Lowering, Operand, Temporary
from ronn_codegen.templates.jobs import SLOTS, Copies, Side, contiguous

T = TypeVar("T")


def emit(c: Lowering, copies: Copies, places: Sequence[Operand | Temporary | np.ndarray]) -> None:
    """Adds the call that does ``copies``; slot i is the address of ``places[i]``."""
    if copies.rows:
        slots: dict[str, Any] = {f"p{i}": p for i, p in enumerate([*places, *[0] * (SLOTS - len(places))])}
        c.call(
            "ronn_codegen.templates.copy",
            "copy",
            **slots,
            jobs=copies.table,
            count=len(copies.rows),
            total=copies.total,
            chunks=copies.units,
            cost=copies.nanoseconds,
            bytes=2 * copies.bytes,
        )


def item(operand: Operand) -> int:
    """Bytes of an element."""
    return operand.dtype.itemsize


def steps(operand: Operand) -> tuple[int, ...]:
    """Strides in bytes."""
    return contiguous(operand.shape, item(operand))


def strided(
    c: Lowering, x: Operand, shape: Sequence[int], strides: Sequence[int], offset: int = 0, out: int = 0
) -> None:
    """Output ``out`` is the view of input 0 with these strides and offset (bytes): an alias where its elements lie in
    order, else a copy. ``shape`` holds as many elements as the output, in its order."""
    y = wanted(c.outputs[out])
    expected = contiguous(shape, item(x))
    if all(n == 1 or s == e for n, s, e in zip(shape, strides, expected, strict=True)):
        c.alias(out, 0, offset)
        return
    copies = Copies()
    copies.add(shape, item(x), Side(0, offset, tuple(strides)), Side(1, 0, expected))
    emit(c, copies, [x, y])


def fill(c: Lowering, y: Operand, value: np.ndarray | Operand) -> None:
    """Every element of ``y`` is the one element of ``value``."""
    copies = Copies()
    size = item(y)
    copies.add((math.prod(y.shape),), size, Side(0, 0, (0,)), Side(1, 0, (size,)))
    emit(c, copies, [value, y])


def constant(c: Lowering, y: Operand, value: np.ndarray) -> None:
    """``y`` is ``value``, known already."""
    value = np.ascontiguousarray(value, y.dtype)
    copies = Copies()
    copies.add((value.size,), item(y), Side(0, 0, (item(y),)), Side(1, 0, (item(y),)))
    emit(c, copies, [value.reshape(-1), y])


def wanted(operand: T | None) -> T:
    """An operand that the schema makes mandatory."""
    assert operand is not None
    return operand


def known(c: Lowering, index: int, what: str) -> np.ndarray | None:
    """The constant input ``index``; None when it is omitted. Refuses one that is computed."""
    given = c.input(index)
    if given is None:
        return None
    c.require(given.data is not None, f"{what} is not constant")
    return given.data


def axis_of(c: Lowering, rank: int, default: int = 0) -> int:
    """The attribute ``axis``, counted from the front."""
    axis = int(c.attr("axis", default))
    return axis + rank if axis < 0 else axis


def runs(index: np.ndarray) -> list[tuple[int, int, int, int]]:
    """A vector of positions as runs of even steps: (first place, length, position there, step). Positions of -1
    (none) are in runs of their own where the others rise."""
    found = []
    steps = np.diff(index)
    turns = np.flatnonzero(np.diff(steps)) + 1
    at, n = 0, len(index)
    while at < n:
        if at == n - 1 or (index[at] < 0) != (index[at + 1] < 0):
            end, step = at, 0
        else:
            step = int(steps[at])
            turn = int(np.searchsorted(turns, at, side="right"))
            end = int(turns[turn]) if turn < len(turns) else n - 1
        found.append((at, end - at + 1, int(index[at]), step))
        at = end + 1
    return found
