"""Indexing: the Gather and Scatter families, ReverseSequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn_codegen.lower._copies import axis_of, emit, item, runs, steps, strided, wanted
from ronn_codegen.lowering import I32, I64, Lowering, Operand
from ronn_codegen.table import lower
from ronn_codegen.templates.jobs import REDUCTION_KINDS, REDUCTIONS, Copies, Side, contiguous

_GATHER = "ronn_codegen.templates.gather"
_SCATTER = "ronn_codegen.templates.scatter"
_BLOCK = 16384  # bytes of a row that are copied at once
_RUNS = 16  # constant indices in at most so many runs are copies of slices
_DIMS = 8


def _wide(c: Lowering, indices: Operand) -> int:
    c.require(indices.dtype in (I32, I64), f"indices are {indices.dtype}")
    return int(indices.dtype == I64)


def _rows_cost(rows: int, inner: int) -> float:
    return rows * (4 + inner / 20)


def _index_error(c: Lowering, axis: int, size: int) -> Any:
    return c.status(f"{c.node.label}: an index is out of range for axis {axis}, whose size is {size}")


# --- gathering


@lower("Gather")
def gather(c: Lowering) -> None:
    """Gather: rows; by constant indices that follow each other, slices."""
    x, indices, y = wanted(c.inputs[0]), wanted(c.inputs[1]), wanted(c.outputs[0])
    axis = axis_of(c, x.rank)
    if indices.data is not None and _sliced(c, x, indices, y, axis):
        return
    _gathered(c, x, indices, y, axis)


@lower("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(c: Lowering) -> None:
    """ArrayFeatureExtractor: Gather along the last axis."""
    x = wanted(c.inputs[0])
    _gathered(c, x, wanted(c.inputs[1]), wanted(c.outputs[0]), x.rank - 1)


def _gathered(c: Lowering, x: Operand, indices: Operand, y: Operand, axis: int) -> None:
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :]) * item(x)
    rows = outer * indices.size
    c.call(
        _GATHER, "gather", x=x, indices=indices, y=y, status=_index_error(c, axis, x.shape[axis]),
        wide=_wide(c, indices), outer=outer, axis=x.shape[axis], count=indices.size, inner=inner, block=_BLOCK,
        chunks=rows * -(-inner // _BLOCK), cost=_rows_cost(rows, inner), bytes=2 * y.nbytes,
    )  # fmt: skip


def _sliced(c: Lowering, x: Operand, indices: Operand, y: Operand, axis: int) -> bool:
    """Gathering by few runs of constant indices, as a view or copies of slices."""
    flat, size = np.asarray(indices.data).reshape(-1).astype(np.int64), x.shape[axis]
    c.require(((flat >= -size) & (flat < size)).all(), "an index is out of range")
    pieces = runs(np.where(flat < 0, flat + size, flat))
    if len(pieces) > _RUNS:
        return False
    strides = steps(x)
    if len(pieces) == 1:
        ((_, length, start, step),) = pieces
        shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
        given = (*strides[:axis], strides[axis] * step, *strides[axis + 1 :])
        strided(c, x, shape, given, start * strides[axis])
        return True
    copies = Copies()
    to = contiguous((*x.shape[:axis], flat.size, *x.shape[axis + 1 :]), item(x))
    for first, length, start, step in pieces:
        shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
        given = (*strides[:axis], strides[axis] * step, *strides[axis + 1 :])
        copies.add(shape, item(x), Side(0, start * strides[axis], given), Side(1, first * to[axis], to))
    emit(c, copies, [x, y])
    return True


def _walk(c: Lowering, shape: Sequence[int], strides: Sequence[int], axis: int) -> tuple[np.ndarray, int, int]:
    """How to walk over indices of ``shape`` in order: a table of the outer dims, and size and step of the innermost.
    A step along ``axis`` moves nothing: there the index says where."""
    dims: list[tuple[int, int]] = []
    for i, (n, s) in enumerate(zip(shape, strides, strict=True)):
        stride = 0 if i == axis else s
        if n == 1:
            continue
        if dims and dims[-1][1] == stride * n:
            dims[-1] = (dims[-1][0] * n, stride)
        else:
            dims.append((n, stride))
    *outer, (n, step) = dims if dims else [(1, 0)]
    c.require(len(outer) <= _DIMS, "too many dims")
    return np.array(outer, np.int64).reshape(-1, 2), n, step


@lower("GatherElements")
def gather_elements(c: Lowering) -> None:
    """GatherElements."""
    x, indices, y = wanted(c.inputs[0]), wanted(c.inputs[1]), wanted(c.outputs[0])
    axis, strides = axis_of(c, x.rank), steps(x)
    outer, n, step = _walk(c, indices.shape, strides, axis)
    rows = indices.size // n
    c.call(
        _GATHER, "gather_elements", x=x, indices=indices, y=y, status=_index_error(c, axis, x.shape[axis]),
        wide=_wide(c, indices), size=item(x), axis=x.shape[axis], stride=strides[axis], table=outer, rank=len(outer),
        rows=rows, n=n, step=step, chunks=rows, cost=indices.size * 1.5 + rows * 5, bytes=2 * y.nbytes,
    )  # fmt: skip


def _coordinates(c: Lowering, x: Operand, indices: Operand, batch_dims: int) -> tuple[np.ndarray, int, Any]:
    """The table (size, stride) of the dims that the last dim of ``indices`` counts in, their number, and the status."""
    depth = indices.shape[-1]
    table = np.array(list(zip(x.shape, steps(x), strict=True))[batch_dims : batch_dims + depth], np.int64).reshape(
        -1, 2
    )
    sizes = [int(n) for n in table[:, 0]]
    return table, depth, c.status(f"{c.node.label}: an index is out of range for dims of sizes {sizes}")


@lower("GatherND")
def gather_nd(c: Lowering) -> None:
    """GatherND."""
    x, indices, y = wanted(c.inputs[0]), wanted(c.inputs[1]), wanted(c.outputs[0])
    b = int(c.attr("batch_dims", 0))
    table, depth, status = _coordinates(c, x, indices, b)
    rows, inner = math.prod(indices.shape[:-1]), math.prod(x.shape[b + depth :]) * item(x)
    c.call(
        _GATHER, "gather_nd", x=x, indices=indices, y=y, status=status, wide=_wide(c, indices), depth=depth,
        table=table, rows=rows, per_batch=math.prod(indices.shape[b:-1]), batch=math.prod(x.shape[b:]) * item(x),
        inner=inner, block=_BLOCK, chunks=rows * -(-inner // _BLOCK), cost=_rows_cost(rows, inner) + rows * depth * 2,
        bytes=2 * y.nbytes,
    )  # fmt: skip


@lower("ReverseSequence")
def reverse_sequence(c: Lowering) -> None:
    """ReverseSequence."""
    x, lengths, y = wanted(c.inputs[0]), wanted(c.inputs[1]), wanted(c.outputs[0])
    batch, time = int(c.attr("batch_axis", 1)) % x.rank, int(c.attr("time_axis", 0)) % x.rank
    c.require({batch, time} == {0, 1}, "other axes than the first two")
    strides, rows, inner = steps(x), x.shape[0] * x.shape[1], math.prod(x.shape[2:]) * item(x)
    c.call(
        _GATHER, "reverse_sequence", x=x, lengths=lengths, y=y, wide=_wide(c, lengths), batches=x.shape[batch],
        status=c.status(f"{c.node.label}: a length is not in 0..{x.shape[time]}"), steps=x.shape[time],
        batch_stride=strides[batch], step_stride=strides[time], inner=inner, chunks=rows, cost=_rows_cost(rows, inner),
        bytes=2 * y.nbytes,
    )  # fmt: skip


# --- scattering


def _how(c: Lowering, x: Operand) -> int:
    """What becomes of an update; see the kernels."""
    reduction = c.attr("reduction", "none")
    if reduction == "none":
        return 0
    name = {"f": "f", "i": "i", "u": "u"}.get(x.dtype.kind, "") + str(8 * item(x))
    c.require(name in REDUCTION_KINDS, f"{reduction} of {x.dtype}")
    return 16 * (1 + REDUCTIONS.index(reduction)) + REDUCTION_KINDS.index(name)


def _copy_first(c: Lowering, x: Operand, y: Operand) -> None:
    """The result begins as the input: in its place, or a copy."""
    c.inplace(0)
    copies = Copies()
    copies.add((x.nbytes,), 1, Side(0, 0, (1,)), Side(1, 0, (1,)))
    emit(c, copies, [x, y])


@lower("Scatter")
@lower("ScatterElements")
def scatter_elements(c: Lowering) -> None:
    """ScatterElements; in shares only where those are of different outermost places."""
    x, indices, updates = (wanted(v) for v in c.inputs[:3])
    y = wanted(c.outputs[0])
    axis, strides = axis_of(c, x.rank), steps(x)
    how, wide = _how(c, x), _wide(c, indices)
    outer, n, step = _walk(c, indices.shape, strides, axis)
    rows = indices.size // n
    parts = int(outer[0, 0]) if len(outer) and outer[0, 1] else 1
    _copy_first(c, x, y)
    c.call(
        _SCATTER, "scatter_elements", updates=updates, indices=indices, y=y,
        status=_index_error(c, axis, x.shape[axis]), wide=wide, how=how, size=item(x), axis=x.shape[axis],
        stride=strides[axis], table=outer, rank=len(outer), rows=rows, n=n, step=step, parts=parts, chunks=parts,
        cost=indices.size * 2 + rows * 5, bytes=2 * updates.nbytes,
    )  # fmt: skip


@lower("ScatterND")
def scatter_nd(c: Lowering) -> None:
    """ScatterND; in shares of the rows' elements."""
    x, indices, updates = (wanted(v) for v in c.inputs[:3])
    y = wanted(c.outputs[0])
    how, wide = _how(c, x), _wide(c, indices)
    table, depth, status = _coordinates(c, x, indices, 0)
    rows, inner = math.prod(indices.shape[:-1]), math.prod(x.shape[depth:])
    _copy_first(c, x, y)
    c.call(
        _SCATTER, "scatter_nd", updates=updates, indices=indices, y=y, status=status, wide=wide, how=how, size=item(x),
        depth=depth, table=table, rows=rows, inner=inner, chunks=max(inner * item(x) // 256, 1),
        cost=_rows_cost(rows, inner * item(x)) * (2 if how else 1), bytes=2 * updates.nbytes,
    )  # fmt: skip


@lower("TensorScatter")
def tensor_scatter(c: Lowering) -> None:
    """TensorScatter."""
    x, updates, starts, y = wanted(c.inputs[0]), wanted(c.inputs[1]), c.input(2), wanted(c.outputs[0])
    axis = axis_of(c, x.rank, -2)
    c.require(axis > 0, "the axis is that of the batch")
    fits = updates.rank == x.rank and all(a == b for i, (a, b) in enumerate(zip(x.shape, updates.shape)) if i != axis)
    c.require(fits, f"updates of shape {updates.shape} for a cache of shape {x.shape}")
    c.require(starts is None or starts.shape == x.shape[:1], "not one position a sample")
    wide = 0 if starts is None else _wide(c, starts)
    length, inner = updates.shape[axis], math.prod(x.shape[axis + 1 :]) * item(x)
    _copy_first(c, x, y)
    if updates.size:
        batches, outer = x.shape[0], math.prod(x.shape[1:axis])
        c.call(
            _SCATTER, "tensor_scatter", updates=updates, starts=0 if starts is None else starts, y=y,
            status=c.status(f"{c.node.label}: positions beyond a cache of {x.shape[axis]}"), wide=wide,
            circular=int(c.attr("mode", "linear") == "circular"), batches=batches, outer=outer, axis=x.shape[axis],
            length=length, inner=inner, chunks=batches * outer, cost=_rows_cost(batches * outer * length, inner),
            bytes=2 * updates.nbytes,
        )  # fmt: skip
