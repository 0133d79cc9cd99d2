"""Arena offsets: storages that live at the same time lie apart, others share bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ronn.errors import MemoryLimitError
from ronn.ir.graph import Graph
from ronn.plan.lifetime import ALIGNMENT, Storage, nbytes


def align(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT


def place(storages: Sequence[Storage]) -> int:
    """Gives each storage its offset and returns the arena's size in bytes.

    Greedy by size (largest first), each into the smallest gap that fits among the storages that live at the same time:
    the strategy that Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020), find best.
    """
    total = 0
    placed: list[Storage] = []
    for s in sorted(storages, key=lambda s: (-(s.size or 0), s.first)):
        size = align(max(s.size or 0, 1))
        overlapping = sorted((p for p in placed if p.first <= s.last and s.first <= p.last), key=lambda p: p.offset)
        best, best_gap, cursor = -1, -1, 0
        for other in overlapping:
            gap = other.offset - cursor
            if gap >= size and (best < 0 or gap < best_gap):
                best, best_gap = cursor, gap
            cursor = max(cursor, other.offset + align(max(other.size or 0, 1)))
        s.offset = cursor if best < 0 else best
        total = max(total, s.offset + size)
        placed.append(s)
    return total


def check_sizes(graph: Graph) -> None:
    """MemoryLimitError, before anything is allocated, when a single tensor is larger than this machine's memory."""
    limit = physical_memory()
    for node in graph:
        for value in node.outputs:
            size = nbytes(value)
            if size is not None and size > limit:
                raise MemoryLimitError(
                    f"%{value.name}: {value.type} needs {size / 2**30:.3g} GiB of {limit / 2**30:.3g} GiB",
                    node=node,
                    hint="the model asks for an absurd size, or an input is far too large",
                )


def physical_memory() -> int:
    """Bytes of main memory; a bound that no tensor reaches where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 48
