"""How real numbers become bytes: scales, zero points, weights by channels."""

from __future__ import annotations

import numpy as np

from ronn.errors import OptionError
from ronn.records import dataclass

Array = np.ndarray
ACTIVATIONS = ("uint8", "int8", "int8-symmetric")
"""Activations: any zero point in 0 to 255, any in -128 to 127, or 0."""
_LARGEST_BIAS = 2.0**30
"""Of a bias in steps of the sums: it leaves room for the sums themselves in 32 bits."""
_TINIEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Scheme:
    """activations: one of ``ACTIVATIONS``. per_channel: whether each output channel of weights has a scale."""

    activations: str = ACTIVATIONS[0]
    per_channel: bool = True

    def __post_init__(self) -> None:
        if self.activations not in ACTIVATIONS:
            raise OptionError(f"activations {self.activations!r} is not one of {', '.join(ACTIVATIONS)}")

    @property
    def symmetric(self) -> bool:
        return self.activations == ACTIVATIONS[2]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.activations == ACTIVATIONS[0] else np.int8)


@dataclass(frozen=True, slots=True)
class Params:
    """``real = scale * (byte - zero)``."""

    scale: float
    zero: int
    dtype: np.dtype

    def quantise(self, x: Array) -> Array:
        """As QuantizeLinear does: half to even, bounded."""
        info = np.iinfo(self.dtype)
        with np.errstate(over="ignore"):
            steps = np.rint(np.asarray(x, np.float32) / np.float32(self.scale)) + np.float32(self.zero)
        return np.clip(steps, info.min, info.max).astype(self.dtype)

    def real(self, q: Array) -> Array:
        """As DequantizeLinear does, in float32."""
        return ((q.astype(np.int32) - self.zero) * np.float32(self.scale)).astype(np.float32)

    def step(self, x: float) -> int:
        """The byte, unbounded, that a number falls on."""
        return round(x / self.scale) + self.zero

    def every(self) -> Array:
        """The reals of all 256 bytes, from the smallest byte on."""
        info = np.iinfo(self.dtype)
        return self.real(np.arange(info.min, info.max + 1))


def params_of(low: float, high: float, scheme: Scheme) -> Params:
    """Parameters whose range holds [low, high] and 0, which is met exactly: padding adds it.

    Scales are rounded to float32, the type that files keep them in. A range without width has a scale of 1.
    """
    info = np.iinfo(scheme.dtype)
    low, high = min(low, 0.0), max(high, 0.0)
    if scheme.symmetric:
        scale = _float32(max(-low, high) / info.max)
        return Params(scale, 0, scheme.dtype)
    scale = _float32(high / (info.max - info.min) - low / (info.max - info.min))
    zero = round(info.min - low / scale)
    return Params(scale, int(np.clip(zero, info.min, info.max)), scheme.dtype)


def _float32(scale: float) -> float:
    return float(np.float32(scale)) if scale >= _TINIEST else 1.0


@dataclass(frozen=True, slots=True)
class Weights:
    """codes i8[out, ...] of weights whose first axis are output channels; scale f32[out], or f32[1] for all."""

    codes: Array
    scale: Array

    def real(self) -> Array:
        return self.codes * self.scale.reshape(-1, *[1] * (self.codes.ndim - 1))


def weights_of(w: Array, scheme: Scheme, bias: Array | None = None, x_scale: float = 1.0) -> Weights:
    """Symmetric int8 in -127 to 127 of w f32[out, ...].

    bias f32[out], x_scale: of what the weights multiply; scales are at least so large that the bias, in steps of
    ``x_scale * scale``, fits into 32 bits beside the sums (channels that hardly hang on the input need it).
    """
    peaks = np.abs(w.reshape(len(w), -1)).max(axis=1, initial=0).astype(np.float64)
    if not scheme.per_channel:
        peaks = peaks.max(initial=0, keepdims=True)
    scale = peaks / 127
    if bias is not None:
        least = np.abs(bias).astype(np.float64) / (x_scale * _LARGEST_BIAS)
        scale = np.maximum(scale, least if scheme.per_channel else least.max(initial=0))
    scale = np.where(scale >= _TINIEST, scale, 1.0).astype(np.float32)
    codes = np.rint(w / scale.reshape(-1, *[1] * (w.ndim - 1)))
    return Weights(np.clip(codes, -127, 127).astype(np.int8), scale)


def bias_of(bias: Array, weights: Weights, x_scale: float) -> Array:
    """i32[out]: the bias f32[out] in steps of the sums."""
    steps = np.rint(bias.astype(np.float64) / (np.float64(x_scale) * weights.scale.astype(np.float64)))
    return np.clip(steps, -(2**31), 2**31 - 1).astype(np.int32)
