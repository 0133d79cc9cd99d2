"""Operators that change only the shape, or read it: views wherever the layout allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ronn.provider.kernels import KernelContext, kernel


def resolve_shape(x: np.ndarray, shape: Sequence[int], allowzero: bool) -> tuple[int, ...]:
    """The target of Reshape with 0 (copy the dim) and -1 (the rest) filled in."""
    dims = [x.shape[i] if d == 0 and not allowzero else d for i, d in enumerate(shape)]
    if -1 in dims:
        at = dims.index(-1)
        rest = math.prod(d for i, d in enumerate(dims) if i != at)
        if rest == 0:
            dims[at] = 0
        elif x.size % rest:
            raise ValueError(f"cannot reshape {x.shape} ({x.size} elements) to {tuple(shape)}")
        else:
            dims[at] = x.size // rest
    return tuple(dims)


@kernel("Reshape", until=4, view=0)
def reshape_by_attribute(ctx: KernelContext, x: np.ndarray, *, shape: list[int]) -> np.ndarray:
    """Reshape of opset 1: the shape is an attribute."""
    return x.reshape(resolve_shape(x, shape, allowzero=False))


@kernel("Reshape", since=5, prepare=True, view=0)
def reshape(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Reshape."""
    allowzero = bool(ctx.attr("allowzero", 0))
    known = ctx.const(1)
    fixed = None if known is None else [int(d) for d in known.reshape(-1)]
    simple = fixed is not None and 0 not in fixed and fixed.count(-1) <= 1

    def call(x: np.ndarray, shape: np.ndarray) -> np.ndarray:
        if simple and x.size:
            return x.reshape(fixed)
        return x.reshape(resolve_shape(x, fixed if fixed is not None else shape.reshape(-1).tolist(), allowzero))

    return call


@kernel("Flatten", view=0)
def flatten(ctx: KernelContext, x: np.ndarray, *, axis: int) -> np.ndarray:
    """Flatten to two dims, split before ``axis``."""
    start = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:start]), math.prod(x.shape[start:]))


@kernel("Squeeze", until=12, view=0)
def squeeze_by_attribute(ctx: KernelContext, x: np.ndarray, *, axes: list[int] | None) -> np.ndarray:
    """Squeeze with axes as an attribute."""
    return x.squeeze(None if axes is None else tuple(axes))


@kernel("Squeeze", since=13, view=0)
def squeeze(ctx: KernelContext, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    """Squeeze."""
    return x.squeeze(None if axes is None else tuple(axes.reshape(-1).tolist()))


@kernel("Unsqueeze", until=12, view=0)
def unsqueeze_by_attribute(ctx: KernelContext, x: np.ndarray, *, axes: list[int]) -> np.ndarray:
    """Unsqueeze with axes as an attribute."""
    return np.expand_dims(x, tuple(axes))


@kernel("Unsqueeze", since=13, view=0)
def unsqueeze(ctx: KernelContext, x: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Unsqueeze."""
    return np.expand_dims(x, tuple(axes.reshape(-1).tolist()))


@kernel("Transpose", view=0)
def transpose(ctx: KernelContext, x: np.ndarray, *, perm: list[int] | None) -> np.ndarray:
    """Transpose; the order of dims is reversed where no permutation is given."""
    return x.transpose(perm) if perm is not None else x.transpose()


@kernel("Expand", view=0)
def expand(ctx: KernelContext, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Expand: a read-only view with strides of 0."""
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist())))


@kernel("Identity", view=0)
def identity(ctx: KernelContext, x: object) -> object:
    """Identity of a tensor, sequence or optional."""
    return x


@kernel("Shape")
def shape_of(ctx: KernelContext, x: np.ndarray, *, start: int | None, end: int | None) -> np.ndarray:
    """Shape, or the part of it from ``start`` to ``end``."""
    return np.array(x.shape[start:end], dtype=np.int64)


@kernel("Size")
def size_of(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """Size: the number of elements."""
    return np.array(x.size, dtype=np.int64)
