"""Sequences (Python lists) and optionals (the value, or None when empty).

A sequence owns its elements: what is put in is copied, because the memory of a tensor may be used again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel


def _position(position: np.ndarray | None, size: int, default: int) -> int:
    at = default if position is None else int(position.reshape(-1)[0])
    return at + size if at < 0 else at


def _check(at: int, size: int, limit: int) -> int:
    if not 0 <= at < limit:
        raise IndexError(f"position {at} is out of range for a sequence of {size}")
    return at


@kernel("SequenceEmpty")
def sequence_empty(ctx: KernelContext) -> list[Any]:
    """SequenceEmpty."""
    return []


@kernel("SequenceConstruct")
def sequence_construct(ctx: KernelContext, *tensors: np.ndarray) -> list[np.ndarray]:
    """SequenceConstruct."""
    return [t.copy() for t in tensors]


@kernel("SequenceLength")
def sequence_length(ctx: KernelContext, sequence: list[Any]) -> np.ndarray:
    """SequenceLength."""
    return np.array(len(sequence), np.int64)


@kernel("SequenceAt", view=0)
def sequence_at(ctx: KernelContext, sequence: list[Any], position: np.ndarray) -> Any:
    """SequenceAt."""
    return sequence[_check(_position(position, len(sequence), 0), len(sequence), len(sequence))]


@kernel("SequenceInsert", view=0)
def sequence_insert(
    ctx: KernelContext, sequence: list[Any], tensor: np.ndarray, position: np.ndarray | None = None
) -> list[Any]:
    """SequenceInsert: at the end where no position is given."""
    n = len(sequence)
    at = _check(_position(position, n, n), n, n + 1)
    return [*sequence[:at], tensor.copy(), *sequence[at:]]


@kernel("SequenceErase", view=0)
def sequence_erase(ctx: KernelContext, sequence: list[Any], position: np.ndarray | None = None) -> list[Any]:
    """SequenceErase: the last element where no position is given."""
    n = len(sequence)
    at = _check(_position(position, n, n - 1), n, n)
    return [*sequence[:at], *sequence[at + 1 :]]


@kernel("SplitToSequence", prepare=True)
def split_to_sequence(ctx: KernelContext) -> Callable[..., list[np.ndarray]]:
    """SplitToSequence: in pieces of 1 (dim dropped unless keepdims), of one size, or of the sizes given."""
    axis, keepdims = ctx.attr("axis", 0), bool(ctx.attr("keepdims", 1))

    def call(x: np.ndarray, split: np.ndarray | None = None) -> list[np.ndarray]:
        dim = x.shape[axis]
        if split is None:
            sizes = [1] * dim
        elif split.ndim == 0:
            size = int(split)
            if size <= 0:
                raise ValueError(f"split size {size} is not positive")
            sizes = [min(size, dim - at) for at in range(0, dim, size)]
        else:
            sizes = split.tolist()
            if sum(sizes) != dim:
                raise ValueError(f"split sizes {sizes} do not add up to dim {dim} of axis {axis}")
        parts = np.split(x, np.cumsum(sizes)[:-1], axis=axis) if sizes else []
        if split is None and not keepdims:
            parts = [p.squeeze(axis) for p in parts]
        return [p.copy() for p in parts]

    return call


@kernel("ConcatFromSequence")
def concat_from_sequence(ctx: KernelContext, sequence: list[np.ndarray], *, axis: int, new_axis: int) -> np.ndarray:
    """ConcatFromSequence: joined along an axis, or stacked along a new one."""
    return np.stack(sequence, axis) if new_axis else np.concatenate(sequence, axis)


@kernel("Optional", view=0)
def optional(ctx: KernelContext, value: Any = None) -> Any:
    """Optional: holding a value, or empty."""
    return value


@kernel("OptionalHasElement")
def optional_has_element(ctx: KernelContext, value: Any = None) -> np.ndarray:
    """OptionalHasElement."""
    return np.array(value is not None)


@kernel("OptionalGetElement", view=0)
def optional_get_element(ctx: KernelContext, value: Any) -> Any:
    """OptionalGetElement; ValueError for an empty optional."""
    if value is None:
        raise ValueError("the optional is empty")
    return value
