"""The memory layout of the forests that ``ronn_codegen.templates.trees`` walks.

A node is 16 bytes. The two children stand side by side, "yes" (value <= threshold) first. A leaf has a NaN threshold
and the slot before its own as child: a step from it stays there. The top bit of ``feature``: NaN goes to "yes".
"""

from __future__ import annotations

import numpy as np

NODE = np.dtype([("threshold", "<f4"), ("feature", "<i4"), ("child", "<i4"), ("payload", "<i4")])
NAN_IS_YES = np.int32(-(1 << 31))
WALKS = 8  # walks that run interleaved; trees are filled up to a multiple of it


def scratch_bytes(trees: int, outputs: int, lanes: int) -> int:
    """Scratch of ``trees_f32`` for one worker: row addresses, payloads, scores."""
    return 8 * WALKS + 4 * WALKS * trees + 4 * WALKS * (-(-outputs // lanes) * lanes)
