"""Cast, CastLike and BitCast, over all pairs of element types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ronn.ir.graph import Node
from ronn.ir.types import DType
from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._numeric import store, widen, wider

_E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
_FLOAT8 = frozenset(
    np.dtype(getattr(ml_dtypes, n)) for n in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
)


def format_number(value: Any) -> str:
    """How Cast writes a number: the shortest decimal that reads back to it, NaN, INF and -INF."""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return "NaN"
        if np.isinf(value):
            return "INF" if value > 0 else "-INF"
    return str(value)


def _parse_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def from_strings(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Strings to numbers; ValueError, naming the string, for one that is not a number."""
    flat = [s.decode() if isinstance(s, bytes) else str(s) for s in x.reshape(-1)]
    if dtype.kind == "b":
        values: list[Any] = [_parse_bool(s) for s in flat]
        return np.array(values, dtype=bool).reshape(x.shape)
    compute = wider(dtype)
    if compute.kind in "fc":
        read: Callable[[str], Any] = complex if compute.kind == "c" else float
        wide = np.array([read(s) for s in flat], dtype=np.result_type(compute, float))
    else:
        wide = np.array([_parse_integer(s) & 0xFFFF_FFFF_FFFF_FFFF for s in flat], dtype=np.uint64)
    return cast(wide.reshape(x.shape), dtype)


def _parse_bool(text: str) -> bool:
    lowered = text.strip().lower()
    return lowered == "true" or (lowered != "false" and float(lowered) != 0)


def to_strings(x: np.ndarray) -> np.ndarray:
    """Numbers to an object array of str."""
    out = np.empty(x.shape, object)
    source = widen(x) if x.dtype not in (np.float16,) else x
    out.reshape(-1)[:] = [format_number(v) for v in source.reshape(-1)]
    return out


def to_e8m0(x: np.ndarray, saturate: bool, round_mode: str) -> np.ndarray:
    """Float32 to float8e8m0: the power of two above (``up``), below (``down``) or nearest."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    exponent = ((bits >> 23) & 0xFF).astype(np.int32)
    fraction = bits & 0x7FFFFF
    if round_mode == "up":
        grown = exponent + (fraction != 0)
    elif round_mode == "nearest":
        grown = exponent + ((fraction > 0x400000) | ((fraction == 0x400000) & (exponent > 0)))
    else:
        grown = exponent
    if saturate:
        grown = np.where(np.isnan(x), 0xFF, np.minimum(grown, 0xFE))
    else:
        grown = np.where((exponent == 0xFF) | (x == 0), 0xFF, grown)
    return grown.astype(np.uint8).view(_E8M0).reshape(x.shape)


def cast(x: np.ndarray, dtype: np.dtype, saturate: bool = True, round_mode: str = "up") -> np.ndarray:
    """``x`` as ``dtype`` by ONNX's rules. Integers wrap; ``saturate`` and ``round_mode`` concern 8-bit floats."""
    if x.dtype == dtype:
        return x
    if x.dtype.kind in "OSUT":
        return from_strings(x, dtype)
    if dtype.kind == "O":
        return to_strings(x)
    with np.errstate(all="ignore"):
        if dtype == _E8M0:
            return to_e8m0(widen(x).astype(np.float32), saturate, round_mode)
        if dtype in _FLOAT8:
            wide = widen(x)
            if wide.dtype.itemsize > 2 and wide.dtype != np.float32:
                wide = _to_odd(wide.astype(np.float64, copy=False))
            elif wide.dtype.kind != "f":
                wide = wide.astype(np.float32)
            if saturate:
                limit = float(ml_dtypes.finfo(dtype).max)
                wide = np.clip(wide, -limit, limit)
            return wide.astype(dtype)
        target = wider(dtype)
        if target.kind in "iu" and target != dtype:
            return _to_small_integer(widen(x), dtype)
        if wider(x.dtype) != x.dtype and x.dtype != np.float16:
            x = widen(x)
        elif target != dtype and dtype != np.float16 and x.dtype.itemsize > 2:
            x = _to_odd(x.astype(np.float64, copy=False))
        return x.astype(dtype)


def _to_odd(x: np.ndarray) -> np.ndarray:
    """Float64 to float32, rounded to odd: rounding that again, to a narrower type, gives what rounding once would."""
    y = x.astype(np.float32)
    bits = np.atleast_1d(y).view(np.uint32)
    bits -= np.atleast_1d(np.abs(y) > np.abs(x)).astype(np.uint32)
    bits |= np.atleast_1d(y != x)
    return bits.view(np.float32).reshape(x.shape)


def _to_small_integer(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """To int4, uint4, int2, uint2: floats truncate; the low bits are kept."""
    info = ml_dtypes.iinfo(dtype)
    span = int(info.max) - int(info.min) + 1
    low = x.astype(np.int64) & (span - 1)
    if int(info.min) < 0:
        low = np.where(low > int(info.max), low - span, low)
    return low.astype(np.int8).astype(dtype)


def _target(node: Node) -> DType | None:
    if node.op == "CastLike":
        like = node.input(1)
        return None if like is None else like.dtype
    to = node.attributes.get("to")
    return DType.from_name(to.lower()) if isinstance(to, str) else None if to is None else DType.from_code(int(to))


def _same(node: Node) -> bool | str:
    first = node.input(0)
    return first is not None and first.dtype is not None and first.dtype is _target(node)


@kernel("Cast", view=0, when=_same)
@kernel("CastLike", view=0, when=_same)
def cast_same(ctx: KernelContext, x: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Cast to the type that the input has."""
    return x


@kernel("Cast", prepare=True, into=True)
@kernel("CastLike", prepare=True, into=True)
def cast_kernel(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Cast and CastLike to another type."""
    target = _target(ctx.node)
    dtype = ctx.dtype() if target is None else target.numpy
    saturate, round_mode = bool(ctx.attr("saturate", 1)), ctx.attr("round_mode", "up")
    plain = dtype.kind in "biufc" and dtype not in _FLOAT8

    def call(x: np.ndarray, like: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
        if out is not None and plain and x.dtype.kind in "biufc":
            with np.errstate(all="ignore"):
                np.copyto(out, x, casting="unsafe")
            return out
        return store(cast(x, dtype, saturate, round_mode), dtype, out)

    return call


@kernel("BitCast", view=0)
def bit_cast(ctx: KernelContext, x: np.ndarray, *, to: int) -> np.ndarray:
    """BitCast: the same bits read as another type of the same width."""
    dtype = DType.from_code(to).numpy
    return x.view(dtype)
