"""Padding of arrays, and with it of the positions of their elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def _pad_index(mode: str, size: int, before: int, after: int) -> np.ndarray:
    """Where each element of a padded axis comes from. ``before`` and ``after`` are not negative."""
    if size == 0 and before + after:
        raise ValueError(f"cannot pad an axis of size 0 in mode {mode!r}")
    at = np.arange(-before, size + after)
    if mode == "edge":
        return np.clip(at, 0, size - 1)
    if mode == "wrap":
        return at % size
    if mode != "reflect":
        raise ValueError(f"unknown pad mode {mode!r}")
    if size == 1:
        return np.zeros_like(at)
    at = np.abs(at) % (2 * (size - 1))
    return np.minimum(at, 2 * (size - 1) - at)


def pad_array(x: np.ndarray, pads: Sequence[int], axes: Sequence[int], mode: str, value: object) -> np.ndarray:
    """``x`` padded; negative pads cut. ``pads`` lists what goes before each of ``axes``, then what goes after."""
    half = len(axes)
    if len(pads) != 2 * half:
        raise ValueError(f"{len(pads)} pads for {half} axes; expected {2 * half}")
    before, after = [0] * x.ndim, [0] * x.ndim
    for axis, b, a in zip(axes, pads[:half], pads[half:], strict=True):
        before[axis], after[axis] = int(b), int(a)
    cut = tuple(slice(max(0, -b), max(0, n - max(0, -a))) for n, b, a in zip(x.shape, before, after, strict=True))
    x = x[cut]
    if mode == "constant":
        grown = [n + max(0, b) + max(0, a) for n, b, a in zip(x.shape, before, after, strict=True)]
        out = np.empty(grown, x.dtype)
        out[...] = value
        out[tuple(slice(max(0, b), max(0, b) + n) for n, b in zip(x.shape, before, strict=True))] = x
        return out
    for axis in range(x.ndim):
        if before[axis] > 0 or after[axis] > 0:
            x = x.take(_pad_index(mode, x.shape[axis], max(0, before[axis]), max(0, after[axis])), axis=axis)
    return x.copy() if x.base is not None else x
