"""Which lanes go where when channels in blocks are put behind each other. Needs no compiler."""

from __future__ import annotations

import numpy as np


def regroup_jobs(start: int, size: int, to: int, lanes: int, *, last: bool) -> np.ndarray:
    """``int64[jobs, 6]`` for channels ``start`` to ``start + size`` that become those from ``to`` on, a row for each
    pair of blocks: the block read and its first lane, the block written and its first lane, lanes read, lanes written.
    More are written than read where zeros fill up the last block: when nothing follows (``last``)."""
    rows = []
    done = 0
    while done < size:
        source, first = divmod(start + done, lanes)
        target, at = divmod(to + done, lanes)
        count = min(lanes - first, lanes - at, size - done)
        done += count
        rows.append((source, first, target, at, count, lanes - at if last and done == size else count))
    return np.array(rows, np.int64)
