"""Ranges of values: by their extremes, by percentiles, by the least squared error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ronn_provider_npu.quantize.scheme import Params, Scheme, params_of

Array = np.ndarray
METHODS = ("minmax", "percentile", "mse", "entropy")
"""Of ranges: all there was; all but the outermost; with the least squared error; with the least loss of information."""
_PERCENTILE = 99.99
_STEPS = 24
_LEAST = 0.1
_BINS, _LEVELS = 2048, 128
_MIDDLE, _OUTERMOST = 1 << 12, 256


def range_of(numbers: Array, scheme: Scheme, method: str, functions: Sequence[Callable[[Array], Array]] = ()) -> Params:
    """Parameters for a value of which ``numbers`` f32[n] were seen.

    method: one of ``METHODS``. functions: through which alone the value is seen, where that is so; the squared error
    is that of what they give.
    """
    low, high = float(numbers.min(initial=0)), float(numbers.max(initial=0))
    if method == "percentile":
        outside = (100 - _PERCENTILE) / 2
        low, high = (float(p) for p in np.percentile(numbers, [outside, 100 - outside]))
    elif method == "entropy":
        low, high = _entropy(numbers, low, high)
    elif method == "mse":
        return _least_error(numbers, low, high, scheme, functions)
    return params_of(low, high, scheme)


def _least_error(
    numbers: Array, low: float, high: float, scheme: Scheme, functions: Sequence[Callable[[Array], Array]]
) -> Params:
    """The range whose rounding and cutting off has the least squared error: one end after the other is moved."""
    some, weights = _thinned(numbers)
    wanted = [f(some) for f in functions] if functions else [some]
    info = np.iinfo(scheme.dtype)

    def error(a: float, b: float) -> float:
        params = params_of(a, b, scheme)
        q = params.quantise(some)
        if not functions:
            return float(np.square(params.real(q) - some) @ weights)
        every, places = params.every(), q.astype(np.int64) - info.min
        return sum(float(np.square(f(every)[places] - w) @ weights) for f, w in zip(functions, wanted, strict=True))

    shares = np.linspace(1, _LEAST, _STEPS)
    if scheme.symmetric:
        _, low, high = min((error(low * s, high * s), low * s, high * s) for s in shares)
        return params_of(low, high, scheme)
    best = error(low, high)
    for _ in range(2):
        for end in range(2):
            start = (low, high)
            for share in shares[1:]:
                tried = (start[0] * share, high) if end == 0 else (low, start[1] * share)
                found = error(*tried)
                if found < best:
                    best, (low, high) = found, tried
    return params_of(low, high, scheme)


def _thinned(numbers: Array) -> tuple[Array, Array]:
    """All of the outermost numbers and some of those between, and how many each stands for: f32[n], f32[n]."""
    ordered = np.sort(numbers)
    if ordered.size <= _MIDDLE + 2 * _OUTERMOST:
        return ordered, np.ones(ordered.size, np.float32)
    ends = ordered[:_OUTERMOST], ordered[-_OUTERMOST:]
    between = ordered[_OUTERMOST:-_OUTERMOST]
    step = -(-between.size // _MIDDLE)
    middle = between[step // 2 :: step]
    one = np.ones(_OUTERMOST, np.float32)
    weights = np.full(middle.size, between.size / middle.size, np.float32)
    return np.concatenate([ends[0], middle, ends[1]]), np.concatenate([one, weights, one])


def _entropy(numbers: Array, low: float, high: float) -> tuple[float, float]:
    """The share of the range that loses the least information: of the distribution of magnitudes, cut off there and
    rounded to 128 levels, the smallest Kullback-Leibler divergence (Migacz 2017, "8-bit Inference with TensorRT")."""
    peak = max(-low, high)
    if peak <= 0:
        return low, high
    counts, edges = np.histogram(np.abs(numbers), _BINS, (0, peak))
    counts = counts.astype(np.float64)
    counts[0] = counts[1]  # exact zeros, of which a Relu makes many, lose nothing
    best, cut = np.inf, peak
    for width in range(_LEVELS, _BINS + 1, _LEVELS // 8):
        kept = counts[:width].copy()
        kept[-1] += counts[width:].sum()
        groups = np.arange(width) * _LEVELS // width
        there = counts[:width] > 0
        sums, filled = np.bincount(groups, counts[:width], _LEVELS), np.bincount(groups, there, _LEVELS)
        rounded = np.where(there, (sums / np.maximum(filled, 1))[groups], 0)
        divergence = _divergence(kept, rounded)
        if divergence < best:
            best, cut = divergence, float(edges[width])
    return max(low, -cut), min(high, cut)


def _divergence(p: Array, q: Array) -> float:
    if not p.sum() or not q.sum():
        return np.inf
    p, q = p / p.sum(), q / q.sum()
    mask = p > 0
    return float((p[mask] * np.log(p[mask] / np.maximum(q[mask], 1e-12))).sum())
