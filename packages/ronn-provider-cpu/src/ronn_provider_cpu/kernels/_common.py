"""What kernels of several families share: half precision computed wider, and a few numeric helpers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from ronn.provider.kernels import KernelContext, kernel

F = TypeVar("F", bound=Callable[..., Any])

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALF = frozenset({np.dtype(np.float16), BFLOAT16})
HALF_NOTE = "computed in float32 and rounded back"


def wide(array: np.ndarray | None) -> Any:
    """float16 and bfloat16 arrays as float32; anything else as it is."""
    if array is not None and getattr(array, "dtype", None) in HALF:
        return array.astype(np.float32)
    return array


class WideContext(KernelContext):
    """The context of a half-precision node, for a kernel that computes in float32."""

    __slots__ = ()

    def __init__(self, context: KernelContext) -> None:
        super().__init__(context.node, context.schema, context.options)

    def const(self, index: int) -> np.ndarray | None:
        return wide(super().const(index))

    def dtype(self, output: int = 0) -> np.dtype:
        dtype = super().dtype(output)
        return np.dtype(np.float32) if dtype in HALF else dtype


def _rounder(context: KernelContext) -> Callable[[Any, Sequence[Any]], Any]:
    """A function that rounds float32 results to the half type that the outputs are declared with."""
    declared = [None if v.dtype is None else v.dtype.numpy for v in context.outputs]

    def round_back(result: Any, inputs: Sequence[Any]) -> Any:
        fallback = next((x.dtype for x in inputs if getattr(x, "dtype", None) in HALF), None)

        def one(array: Any, i: int) -> Any:
            dtype = declared[i] if i < len(declared) else None
            dtype = fallback if dtype is None else dtype
            if array is not None and dtype in HALF and array.dtype != dtype:
                return array.astype(dtype)
            return array

        if isinstance(result, (tuple, list)):
            return tuple(one(a, i) for i, a in enumerate(result))
        return one(result, 0)

    return round_back


def in_float32(fn: F, prepare: bool = False) -> F:
    """A variant of a kernel that gets float16 and bfloat16 inputs as float32 and has its results rounded back."""
    if prepare:

        @functools.wraps(fn)
        def factory(ctx: KernelContext, **attributes: Any) -> Callable[..., Any]:
            inner = fn(WideContext(ctx), **attributes)
            round_back = _rounder(ctx)
            return lambda *inputs: round_back(inner(*map(wide, inputs)), inputs)

        return factory  # type: ignore[return-value]

    @functools.wraps(fn)
    def run(ctx: KernelContext, *inputs: Any, **attributes: Any) -> Any:
        result = fn(WideContext(ctx), *map(wide, inputs), **attributes)
        return _rounder(ctx)(result, inputs)

    return run  # type: ignore[return-value]


def float_kernel(
    op: str, *, variable: str = "", only: str = "float16 bfloat16 float32 float64", **options: Any
) -> Callable[[F], F]:
    """``@kernel`` for float32 and float64, and, with a note, for the half types through float32.

    variable: the type variable that is restricted (input 0 by default). only: the dtypes to take. options: those of
    ``kernel``.
    """
    names = only.split()
    full = " ".join(n for n in names if n not in ("float16", "bfloat16"))
    half = " ".join(n for n in names if n in ("float16", "bfloat16"))

    def mark(fn: F) -> F:
        marks = fn.__dict__.setdefault("__ronn_kernels__", [])
        if half:
            variant = in_float32(fn, prepare=options.get("prepare", False))
            variant.__dict__["__ronn_kernels__"] = []
            kernel(op, dtypes={variable: half}, note=HALF_NOTE, **options)(variant)
            marks.extend(variant.__dict__["__ronn_kernels__"])
        if full:
            # Tried last, so that its refusal is the one that people see.
            kernel(op, dtypes={variable: full}, **options)(fn)
        return fn

    return mark


def own(result: np.ndarray, *inputs: np.ndarray | None) -> np.ndarray:
    """``result``, copied where it may be a view of an input: the plan may write over inputs that are used up."""
    if any(x is not None and np.may_share_memory(result, x) for x in inputs):
        return result.copy()
    return result
