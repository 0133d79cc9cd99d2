"""Windows over spatial axes: paddings, output sizes, and the strided view of one tap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

Pads = list[tuple[int, int]]


def resolve_pads(
    auto_pad: str | None,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Pads:
    """(begin, end) of every spatial axis, ``auto_pad`` worked out."""
    n = len(sizes)
    if auto_pad in (None, "", "NOTSET"):
        if pads is None or len(pads) == 0:
            return [(0, 0)] * n
        return [(int(pads[i]), int(pads[n + i])) for i in range(n)]
    if auto_pad == "VALID":
        return [(0, 0)] * n
    found = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        less = total // 2
        found.append((less, total - less) if auto_pad == "SAME_UPPER" else (total - less, less))
    return found


def out_size(size: int, kernel: int, stride: int, dilation: int, pad: tuple[int, int], ceil: bool = False) -> int:
    """How many windows fit. With ``ceil`` a partial last one counts if it starts inside the input or left padding."""
    free = size + pad[0] + pad[1] - (kernel - 1) * dilation - 1
    if not ceil:
        return max(free // stride + 1, 0)
    n = -(-free // stride) + 1
    if (n - 1) * stride >= size + pad[0]:
        n -= 1
    return max(n, 0)


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
