"""Windows over spatial axes: paddings, how many there are, where they lie. Imports no compiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Pads = list[tuple[int, int]]


def is_set(value: Any) -> bool:
    """Whether an integer attribute that stands for a flag is given and not 0."""
    return value is not None and bool(value)


def ints(value: Any, count: int, default: int) -> list[int]:
    """A list attribute as ints; ``count`` times ``default`` where the model gives none."""
    return [default] * count if value is None or len(value) == 0 else [int(v) for v in value]


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


class Window:
    """The geometry of a pooling node for one input shape. ``sizes``: how many windows along each axis; ``padded``:
    padding that covers every window, the partial last ones of ceil_mode included."""

    __slots__ = ("dilations", "kernel", "padded", "pads", "sizes", "strides")

    def __init__(
        self,
        spatial: Sequence[int],
        kernel: Sequence[int],
        strides: Any,
        dilations: Any,
        pads: Any,
        auto_pad: Any,
        ceil_mode: Any,
    ) -> None:
        rank = len(spatial)
        self.kernel = ints(kernel, rank, 1)
        self.strides = ints(strides, rank, 1)
        self.dilations = ints(dilations, rank, 1)
        self.pads: Pads = resolve_pads(auto_pad, pads, spatial, self.kernel, self.strides, self.dilations)
        ceil = is_set(ceil_mode) and auto_pad in (None, "", "NOTSET", "VALID")
        self.sizes = [
            out_size(n, k, s, d, p, ceil)
            for n, k, s, d, p in zip(spatial, self.kernel, self.strides, self.dilations, self.pads, strict=True)
        ]
        self.padded: Pads = [
            (b, max(e, (o - 1) * s + (k - 1) * d + 1 - n - b) if o else e)
            for n, o, k, s, d, (b, e) in zip(
                spatial, self.sizes, self.kernel, self.strides, self.dilations, self.pads, strict=True
            )
        ]


def counts_of(spatial: Sequence[int], window: Window, include_pad: bool, dtype: np.dtype) -> np.ndarray:
    """How many elements each window averages over, broadcastable to the output."""
    total = np.ones((1,) * len(spatial), dtype)
    for i, n in enumerate(spatial):
        begin, end = window.pads[i] if include_pad else (0, 0)
        starts = np.arange(window.sizes[i]) * window.strides[i] - window.pads[i][0]
        places = starts[:, None] + np.arange(window.kernel[i]) * window.dilations[i]
        shape = [1] * len(spatial)
        shape[i] = window.sizes[i]
        total = total * ((places >= -begin) & (places < n + end)).sum(1).astype(dtype).reshape(shape)
    return np.maximum(total, 1)


def transposed_geometry(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    auto_pad: str | None,
    pads: Any,
    output_padding: Sequence[int],
    output_shape: Any,
) -> tuple[list[int], list[int]]:
    """(elements cut at the begin, output size) of every spatial axis."""
    n = len(sizes)
    begins, outs = [], []
    same = auto_pad in ("SAME_UPPER", "SAME_LOWER")
    for i in range(n):
        full = strides[i] * (sizes[i] - 1) + output_padding[i] + (kernel[i] - 1) * dilations[i] + 1
        wanted = int(output_shape[-n + i]) if output_shape is not None and len(output_shape) else None
        if wanted is None and same:
            wanted = sizes[i] * strides[i]
        if wanted is None:
            begin, end = (0, 0) if pads is None or auto_pad == "VALID" else (int(pads[i]), int(pads[n + i]))
            wanted = full - begin - end
        else:
            total = max(full - wanted, 0)
            begin = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        begins.append(begin)
        outs.append(max(wanted, 0))
    return begins, outs
