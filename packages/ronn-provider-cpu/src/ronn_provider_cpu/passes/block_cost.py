"""What layouts cost: nanoseconds on one core, estimated from sizes. Only differences and their signs matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BYTES_PER_NS = 20.0  # of a reordering, read and written
_CALL = 150.0  # of one more kernel
FOLLOWING = 1.0  # that a node gains in the layout of what it reads: where nothing else tells, it may be fused with that
WORTH_WHILE = 50.0  # what a region must gain


def blocked_size(shape: Sequence[int], lanes: int) -> int:
    """Elements of ``[N, C, H, W]`` in blocks."""
    n, c, h, w = shape
    return n * -(-c // lanes) * lanes * h * w


def reorder(shape: Sequence[int], lanes: int) -> float:
    """Of going from plain ``[N, C, H, W]`` to blocks, or back."""
    if shape[2] * shape[3] == 1 and shape[1] % lanes == 0:
        return 0.0
    return _CALL + 4 * (math.prod(shape) + blocked_size(shape, lanes)) / _BYTES_PER_NS


def convolution_gain(x: Sequence[int], y: Sequence[int], *, plain_input: bool, lanes: int) -> float:
    """What a convolution saves on blocks: on its own it reorders its input, unless it reads it plain, and output."""
    return reorder(y, lanes) + (0.0 if plain_input else reorder(x, lanes))
