"""Which lanes go where when channels in blocks are put behind each other. Needs no compiler."""

from __future__ import annotations

import numpy as np


def regroup_jobs(start: int, size: int, to: int, lanes: int, *, last: bool) -> np.ndarray:
    """``int64[jobs, 5]`` for channels ``start`` to ``start + size`` that become those from ``to`` on: the block read,
    its first lane, the block written, its first lane, lanes; one row a pair of blocks. ``last``: nothing follows, and
    the rest of the last block is to be zero, which a number of lanes up to the end, less the lanes of it that are
    zero, says: a sixth column holds the lanes written."""
    rows = []
    done = 0
    while done < size:
        source, first = divmod(start + done, lanes)
        target, at = divmod(to + done, lanes)
        count = min(lanes - first, lanes - at, size - done)
        done += count
        rows.append((source, first, target, at, count, lanes - at if last and done == size else count))
    return np.array(rows, np.int64)
