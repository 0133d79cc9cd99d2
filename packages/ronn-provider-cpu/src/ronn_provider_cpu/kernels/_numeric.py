"""What elementwise kernels share: the type a dtype is computed in, rounding back, and running in cache-sized blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from ronn.provider.kernels import kernel

F = TypeVar("F", bound=Callable[..., Any])

SMALL_FLOATS = (
    "float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn "
    "float6_e2m3fn float6_e3m2fn"
)
ROUNDED = "computed in float32 and rounded back"
BLOCK = 1 << 14  # elements worked on at a time, so that temporaries stay in cache

_FLOAT32 = np.dtype(np.float32)
_WIDER: dict[np.dtype, np.dtype] = {
    **{np.dtype(getattr(np, n, None) or getattr(ml_dtypes, n)): _FLOAT32 for n in SMALL_FLOATS.split()},
    **{np.dtype(getattr(ml_dtypes, n)): np.dtype(np.int8) for n in ("int2", "int4")},
    **{np.dtype(getattr(ml_dtypes, n)): np.dtype(np.uint8) for n in ("uint2", "uint4")},
}


def wider(dtype: np.dtype) -> np.dtype:
    """The dtype that arithmetic on ``dtype`` is done in: float32 for small floats, int8 or uint8 for int4 and int2."""
    return _WIDER.get(dtype, dtype)


def widen(x: np.ndarray) -> np.ndarray:
    """``x`` in the dtype that arithmetic on it is done in; ``x`` itself where that is its own."""
    return x.astype(wider(x.dtype), copy=False)


def store(y: Any, dtype: np.dtype, out: np.ndarray | None) -> np.ndarray:
    """``y`` as an array of ``dtype``, in ``out`` when given."""
    if out is None:
        return np.asarray(y).astype(dtype, copy=False)
    if out is not y:
        np.copyto(out, y, casting="unsafe")
    return out


def is_float(dtype: np.dtype) -> bool:
    """Whether ``dtype`` is a floating type, ``ml_dtypes`` ones included."""
    return wider(dtype).kind == "f"


def kernels(ops: Iterable[str], *, rounded: bool = False, **marks: Any) -> Callable[[F], F]:
    """``@kernel`` for several operators. ``rounded`` adds the note about float32 for small floats."""

    def mark(fn: F) -> F:
        for op in ops:
            if rounded:
                kernel(op, **{**marks, "dtypes": SMALL_FLOATS, "note": ROUNDED})(fn)
            kernel(op, **marks)(fn)
        return fn

    return mark


def in_blocks(f: Callable[[np.ndarray], np.ndarray], dtype: np.dtype) -> Callable[..., np.ndarray]:
    """``call(x, out=None)`` that maps the elementwise ``f`` over ``x``, block by block, in the wider type of ``x``.

    ``f`` gets 1-d arrays; what it returns is converted to ``dtype``. ``out`` may be ``x``.
    """

    def call(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            target = out if out is not None and out.flags.c_contiguous else np.empty(x.shape, dtype)
            source, sink = x.reshape(-1), target.reshape(-1)
            compute = wider(x.dtype)
            for i in range(0, source.size, BLOCK):
                part = slice(i, i + BLOCK)
                np.copyto(sink[part], f(source[part].astype(compute, copy=False)), casting="unsafe")
            return target if out is None or out is target else store(target, dtype, out)

    return call
