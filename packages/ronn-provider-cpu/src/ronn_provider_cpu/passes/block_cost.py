"""What layouts cost: nanoseconds on one core, estimated from sizes. Only differences and their signs matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BYTES_PER_NS = 20.0  # of a reordering, read and written
_CALL = 150.0  # of one more kernel
_FLOPS_PER_LANE_NS = 12.0  # of a convolution, per lane of the vectors
_PLAIN_MATRIX = 0.75  # speed of a pointwise convolution as a plain matrix product, of that on blocks


def blocked_size(shape: Sequence[int], lanes: int) -> int:
    """Elements of ``[N, C, H, W]`` in blocks."""
    n, c, h, w = shape
    return n * -(-c // lanes) * lanes * h * w


def reorder(shape: Sequence[int], lanes: int) -> float:
    """Of going from plain ``[N, C, H, W]`` to blocks, or back."""
    if shape[2] * shape[3] == 1 and shape[1] % lanes == 0:
        return 0.0
    return _CALL + 4 * (math.prod(shape) + blocked_size(shape, lanes)) / _BYTES_PER_NS


def convolution_gain(
    x: Sequence[int], w: Sequence[int], y: Sequence[int], *, pointwise: bool, plain_input: bool, lanes: int
) -> float:
    """What a convolution saves on blocks: on its own it would reorder its input and output.

    pointwise: on its own it is one matrix product on the plain layout.
    """
    borders = reorder(y, lanes) + (0.0 if plain_input else reorder(x, lanes))
    if not pointwise:
        return borders
    flops = 2.0 * math.prod(y) * math.prod(w[1:])
    peak = _FLOPS_PER_LANE_NS * lanes
    blocked = flops / peak * blocked_size(y, lanes) / math.prod(y)
    return flops / (peak * _PLAIN_MATRIX) - blocked + 4 * math.prod(x) / _BYTES_PER_NS
