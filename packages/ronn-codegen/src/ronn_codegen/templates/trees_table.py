"""The memory layout of the forests that ``ronn_codegen.templates.trees`` evaluates.

A node is 16 bytes. The two children stand side by side, "yes" (value <= threshold) first. A leaf has a NaN threshold
and the slot before its own as child: a step from it stays there. The top bit of ``feature``: NaN goes to "yes".

A test (of ``trees_bits``) is 16 bytes too: what it compares, and the bits of the leaves that it keeps when it fails.
"""

from __future__ import annotations

import numpy as np

NODE = np.dtype([("threshold", "<f4"), ("feature", "<i4"), ("child", "<i4"), ("payload", "<i4")])
TEST = np.dtype([("threshold", "<f4"), ("feature", "<i4"), ("kept", "<u4", 2)])
NAN_IS_YES = np.int32(-(1 << 31))
WALKS = 8  # walks that run interleaved; trees are filled up to a multiple of it


def group_of(lanes: int) -> int:
    """Rows that are taken together."""
    return max(WALKS, lanes)


def scratch_bytes(trees: int, outputs: int, width: int, lanes: int) -> int:
    """Scratch of ``trees_f32`` for one worker: row addresses, columns of x, payloads, scores."""
    group = group_of(lanes)
    return 8 * group + 4 * group * (width + trees + -(-outputs // lanes) * lanes)


def reach_bytes(width: int, lanes: int) -> int:
    """Scratch of ``trees_reach_f32`` for one worker: row addresses and columns of x."""
    return 8 * group_of(lanes) + 4 * group_of(lanes) * width
