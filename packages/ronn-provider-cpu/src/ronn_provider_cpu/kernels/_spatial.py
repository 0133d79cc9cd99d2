"""Arrays over spatial axes: padding, and the strided view of one tap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from ronn_codegen.windows import Pads


def pad_spatial(x: np.ndarray, pads: Pads, value: Any = 0) -> np.ndarray:
    """``x`` with its last ``len(pads)`` axes padded with ``value``; negative pads crop."""
    if all(b == 0 and e == 0 for b, e in pads):
        return x
    lead = x.ndim - len(pads)
    if any(b < 0 or e < 0 for b, e in pads):
        cut = tuple(
            slice(max(-b, 0), max(n - max(-e, 0), max(-b, 0))) for n, (b, e) in zip(x.shape[lead:], pads, strict=True)
        )
        x = x[(...,) + cut]
        pads = [(max(b, 0), max(e, 0)) for b, e in pads]
    shape = x.shape[:lead] + tuple(n + b + e for n, (b, e) in zip(x.shape[lead:], pads, strict=True))
    out = np.full(shape, value, x.dtype) if value != 0 else np.zeros(shape, x.dtype)
    out[(...,) + tuple(slice(b, b + n) for n, (b, _) in zip(x.shape[lead:], pads, strict=True))] = x
    return out


def taps(kernel: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Every position inside a window, last axis fastest."""
    return product(*(range(k) for k in kernel))


def tap_slices(
    tap: Sequence[int], out: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[Any, ...]:
    """Where the elements at ``tap`` of all windows lie in the padded input."""
    return tuple(
        slice(t * d, t * d + (n - 1) * s + 1 if n else t * d, s)
        for t, n, s, d in zip(tap, out, strides, dilations, strict=True)
    )
