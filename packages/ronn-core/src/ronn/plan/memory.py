"""Arena offsets: storages that live at the same time lie apart, others share bytes."""

from __future__ import annotations

from collections.abc import Sequence

from ronn.plan.lifetime import ALIGNMENT, Storage


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
