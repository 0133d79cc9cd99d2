"""Frames: what one run in progress owns."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.plan.lifetime import ALIGNMENT
from ronn.plan.segment import Bound, address

_MAPPED = 1 << 20  # bytes from which an arena is mapped: what is given back then leaves the process
# Pages that a process shares with its forked children would be one arena for the runs of both.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_HUGE = 8 << 20  # bytes from which large pages are asked for


class Frame:
    """Slots (constants and arena views are in place), and segments bound to the arena. ``runs`` are those finished."""

    __slots__ = ("arena", "runs", "segments", "slots")

    def __init__(self, slots: list[Any], arena: np.ndarray | None, segments: Sequence[Bound]) -> None:
        self.slots = slots
        self.arena = arena
        self.segments = segments
        self.runs = 0


def make_arena(size: int) -> np.ndarray:
    """``size`` bytes, aligned to 64."""
    if size < _MAPPED:
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -address(memory) % ALIGNMENT
        return memory[start : start + size]
    pages = mmap.mmap(-1, size, **_PRIVATE)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            pages.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a kernel without large pages
    return np.frombuffer(pages, np.uint8)
