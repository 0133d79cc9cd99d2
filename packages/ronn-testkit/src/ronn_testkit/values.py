"""Arrays for generated cases: shapes that hurt, values that hurt, and memory layouts that hurt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ronn.ir.types import DType

# Around the widths of vector registers, and above the size of a small cache.
ODD_SIZES = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65)
SPECIALS = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-30, -1e-30, 65504.0)
FLOATS = ("float32", "float64", "float16", "bfloat16")
INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a name, ``ml_dtypes`` included."""
    return DType.from_name(name).numpy


def fill(
    shape: Sequence[int], dtype: str, seed: int, *, low: float = -3, high: float = 3, specials: bool = False
) -> Any:
    """An array of ``shape``: floats in [low, high], integers over their whole range where no bounds are narrower."""
    rng = np.random.default_rng(seed)
    size = tuple(shape)
    if dtype == "bool":
        return rng.integers(0, 2, size).astype(bool)
    if dtype in INTS:
        info = np.iinfo(dtype)
        if specials:
            return rng.integers(info.min, info.max, size, dtype=dtype, endpoint=True)
        return rng.integers(max(info.min, int(low)), min(info.max, int(high)), size, endpoint=True).astype(dtype)
    array = np.asarray(rng.uniform(low, high, size))
    if specials and array.size:
        picked = rng.random(size) < 0.15
        array = np.where(picked, rng.choice(np.array(SPECIALS), size), array)
    with np.errstate(all="ignore"):
        return np.asarray(array).astype(numpy_dtype(dtype))


def shapes(max_rank: int = 4, min_rank: int = 0, *, empty: bool = True) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes with 0-d, zero-size and odd dims; at most some thousand elements."""
    dim = st.sampled_from((1, 2, 3, 4, 5) + ((0,) if empty else ()))
    small = st.lists(dim, min_size=min_rank, max_size=max_rank).map(tuple)
    if min_rank > 1:
        return small
    odd = st.sampled_from(ODD_SIZES).map(lambda n: (n,))
    return st.one_of(small, odd, st.just((37, 129))) if max_rank > 1 else st.one_of(small, odd)


@st.composite
def broadcastable(draw: st.DrawFn, count: int = 2) -> tuple[tuple[int, ...], ...]:
    """Shapes that broadcast together: each has some of the full shape's dims replaced by 1 or left out in front."""
    full = draw(shapes())
    out = []
    for _ in range(count):
        kept = draw(st.integers(0, len(full)))
        tail = full[len(full) - kept :]
        out.append(tuple(1 if draw(st.booleans()) and draw(st.booleans()) else d for d in tail))
    out[draw(st.integers(0, count - 1))] = full
    return tuple(out)


LAYOUTS = ("plain", "strided", "reversed", "transposed", "read-only")


def with_layout(array: Any, layout: str) -> Any:
    """The same values in other memory: every second element of a larger array, backwards, transposed, or read-only."""
    if not isinstance(array, np.ndarray):
        return array
    if layout == "strided" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "reversed" and array.ndim:
        return np.ascontiguousarray(array[::-1])[::-1]
    if layout == "transposed" and array.ndim > 1:
        return np.ascontiguousarray(array.T).T
    if layout == "read-only":
        copy = array.copy()
        copy.flags.writeable = False
        return copy
    return array
