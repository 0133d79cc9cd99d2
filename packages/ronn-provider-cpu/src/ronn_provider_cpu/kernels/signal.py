"""Signal processing: DFT, STFT, window functions, MelWeightMatrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.ir.types import DType
from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.windows import is_set
from ronn_provider_cpu.kernels._common import float_kernel

Array = np.ndarray


def _complex(x: Array) -> Array:
    """(..., 1) as the real numbers, (..., 2) as the complex numbers that it stands for."""
    if x.shape[-1] == 1:
        return x[..., 0]
    pairs = np.ascontiguousarray(x)
    return pairs.view(np.complex64 if x.dtype == np.float32 else np.complex128)[..., 0]


def _pairs(z: Array, dtype: np.dtype) -> Array:
    """Complex numbers as (..., 2)."""
    return np.stack([z.real, z.imag], axis=-1).astype(dtype, copy=False)


def transform(x: Array, length: int | None, axis: int, inverse: bool, onesided: bool) -> Array:
    """The (inverse) DFT of x (..., 1 or 2) along ``axis``, which counts the last axis too."""
    signal = _complex(x)
    if inverse:
        if onesided:
            n = 2 * (signal.shape[axis] - 1) if length is None else length
            return np.fft.irfft(signal, n=n, axis=axis)[..., None].astype(x.dtype, copy=False)
        return _pairs(np.fft.ifft(signal, n=length, axis=axis), x.dtype)
    if onesided and not np.iscomplexobj(signal):
        return _pairs(np.fft.rfft(signal, n=length, axis=axis), x.dtype)
    result = np.fft.fft(signal, n=length, axis=axis)
    if onesided:
        result = np.take(result, np.arange(result.shape[axis] // 2 + 1), axis=axis)
    return _pairs(result, x.dtype)


@float_kernel("DFT", variable="T1", until=19)
def dft_17(
    ctx: KernelContext, x: Array, length: Array | None = None, *, axis: Any, inverse: Any, onesided: Any
) -> Array:
    along = 1 if axis is None else int(axis)
    n = None if length is None else int(length.reshape(()))
    return transform(x, n, along % x.ndim, is_set(inverse), is_set(onesided))


@float_kernel("DFT", variable="T1", since=20)
def dft(
    ctx: KernelContext, x: Array, length: Array | None = None, axis: Array | None = None, *, inverse: Any, onesided: Any
) -> Array:
    along = -2 if axis is None else int(axis.reshape(()))
    n = None if length is None else int(length.reshape(()))
    return transform(x, n, along % x.ndim, is_set(inverse), is_set(onesided))


@float_kernel("STFT", variable="T1")
def stft(
    ctx: KernelContext,
    x: Array,
    frame_step: Array,
    window: Array | None = None,
    frame_length: Array | None = None,
    *,
    onesided: Any,
) -> Array:
    """x (N, length, 1 or 2), or (N, length) -> (N, frames, bins, 2)."""
    signal = _complex(x) if x.ndim == 3 else x
    step = int(frame_step.reshape(()))
    if window is not None:
        size = window.shape[0]
    else:
        size = signal.shape[1] if frame_length is None else int(frame_length.reshape(()))
    if step <= 0:
        raise ValueError(f"STFT: frame_step is {step}, it must be positive")
    frames = np.lib.stride_tricks.sliding_window_view(signal, size, axis=1)[:, ::step]
    if window is not None:
        frames = frames * window
    if is_set(onesided) and not np.iscomplexobj(frames):
        return _pairs(np.fft.rfft(frames, axis=2), x.dtype)
    result = np.fft.fft(frames, axis=2)
    return _pairs(result[:, :, : size // 2 + 1] if is_set(onesided) else result, x.dtype)


def _window(*terms: float) -> Callable[..., Array]:
    """A window that is a sum of cosines: terms[k] * cos(2 pi k n / N)."""

    def run(ctx: KernelContext, size: Array, *, periodic: Any, output_datatype: Any) -> Array:
        n = int(size.reshape(()))
        span = n if periodic is None or periodic else n - 1
        angle = np.arange(n) * (2 * math.pi / span) if span > 0 else np.zeros(n)
        y = np.zeros(n)
        for k, term in enumerate(terms):
            y += term * np.cos(k * angle)
        return y.astype(_datatype(output_datatype))

    return run


def _datatype(code: Any) -> np.dtype:
    return np.dtype(np.float32) if code is None else DType.from_code(int(code)).numpy


@kernel("HannWindow")
def hann_window(ctx: KernelContext, size: Array, *, periodic: Any, output_datatype: Any) -> Array:
    return _window(0.5, -0.5)(ctx, size, periodic=periodic, output_datatype=output_datatype)


@kernel("HammingWindow")
def hamming_window(ctx: KernelContext, size: Array, *, periodic: Any, output_datatype: Any) -> Array:
    return _window(25 / 46, -21 / 46)(ctx, size, periodic=periodic, output_datatype=output_datatype)


@kernel("BlackmanWindow")
def blackman_window(ctx: KernelContext, size: Array, *, periodic: Any, output_datatype: Any) -> Array:
    return _window(0.42, -0.5, 0.08)(ctx, size, periodic=periodic, output_datatype=output_datatype)


@kernel("MelWeightMatrix")
def mel_weight_matrix(
    ctx: KernelContext,
    num_mel_bins: Array,
    dft_length: Array,
    sample_rate: Array,
    lower_edge_hertz: Array,
    upper_edge_hertz: Array,
    *,
    output_datatype: Any,
) -> Array:
    bins, length, rate = int(num_mel_bins), int(dft_length), int(sample_rate)
    low, high = (2595 * math.log10(1 + float(f) / 700) for f in (lower_edge_hertz, upper_edge_hertz))
    mel = low + np.arange(bins + 2) * ((high - low) / (bins + 2))
    edges = ((length + 1) * (700 * (10 ** (mel / 2595) - 1)) // rate).astype(np.int64)
    out = np.zeros((length // 2 + 1, bins))
    rows = np.arange(out.shape[0])
    for i in range(bins):
        left, centre, right = (int(e) for e in edges[i : i + 3])
        if centre > left:
            rise = (rows >= left) & (rows <= centre)
            out[rise, i] = (rows[rise] - left) / (centre - left)
        elif centre < out.shape[0]:
            out[centre, i] = 1
        if right > centre:
            fall = (rows >= centre) & (rows < right)
            out[fall, i] = (right - rows[fall]) / (right - centre)
    return out.astype(_datatype(output_datatype))
