"""What callers of the pooling kernels must know, without importing a compiler."""

from __future__ import annotations


def scratch_width(w: int, ow: int, kw: int, sw: int, dw: int, pw: int, lanes: int) -> int:
    """Floats of the padded row that the plain kernels need, a multiple of the lanes."""
    outputs = -(-ow // lanes) * lanes
    read = (outputs - 1) * sw + (kw - 1) * dw + 1 + (sw - 1)
    if sw == 2:
        read = max(read, (outputs - lanes) * sw + (kw - 1) * dw + 2 * lanes)
    return -(-max(read, pw + w) // lanes) * lanes
