"""Arena offsets: storages that live at the same time lie apart, others share bytes."""

from __future__ import annotations

import os
from bisect import insort
from collections.abc import Callable, Sequence

from ronn.errors import MemoryLimitError
from ronn.ir.graph import Graph, Value
from ronn.plan.budget import size_text
from ronn.plan.lifetime import ALIGNMENT, Lifetimes, Storage, nbytes


def align(n: int, to: int = ALIGNMENT) -> int:
    return -(-n // to) * to


def place(storages: Sequence[Storage], margin: int = 0, alignment: int = ALIGNMENT) -> int:
    """Gives each storage its offset and returns the arena's size in bytes. ``margin`` bytes stay free round each; all
    start and end at multiples of ``alignment``.

    Greedy by size (largest first), each into the smallest gap that fits among the storages that live at the same time:
    the strategy that Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020), find best.
    """
    total = 0
    placed: list[tuple[int, int, int, int]] = []  # where it starts and ends, its first and last call; by start
    for s in sorted(storages, key=lambda s: (-(s.size or 0), s.first)):
        first, last, bytes_ = s.first, s.last, align(max(s.size or 0, 1), alignment)
        size = bytes_ + 2 * margin
        best, best_gap, cursor = -1, -1, 0
        for start, end, since, until in placed:
            if since <= last and first <= until:
                gap = start - margin - cursor
                if gap >= size and (best < 0 or gap < best_gap):
                    best, best_gap = cursor, gap
                if end + margin > cursor:
                    cursor = end + margin
        s.offset = (cursor if best < 0 else best) + margin
        total = max(total, s.offset + size - margin)
        insort(placed, (s.offset, s.offset + bytes_, first, last))
    return total


def heap_peak(lifetimes: Lifetimes) -> int:
    """Bytes that calls and segments allocate outside of the arena, at the moment when they are most: outputs, and
    results of kernels that allocate. Only those of known size count."""
    changes: dict[int, int] = {}
    for storage, size in _allocated(lifetimes):
        changes[storage.first] = changes.get(storage.first, 0) + size
        changes[storage.last + 1] = changes.get(storage.last + 1, 0) - size
    level = peak = 0
    for _, change in sorted(changes.items()):
        level += change
        peak = max(peak, level)
    return peak


def _allocated(lifetimes: Lifetimes) -> list[tuple[Storage, int]]:
    seen = {id(s): s for s in lifetimes.storage.values() if s.external and s.first >= 0 and s.home is not None}
    sizes = [(s, nbytes(s.home)) for s in seen.values() if s.home is not None]
    return [(s, size) for s, size in sizes if size is not None]


def largest(lifetimes: Lifetimes, count: int = 3) -> list[tuple[int, str]]:
    """The largest tensors of a run, for messages: bytes and what they are."""
    found: dict[Value, int] = {}
    for storage in lifetimes.arena_storages():
        for value in storage.values[:1]:
            found[value] = storage.size or 0
    for storage, size in _allocated(lifetimes):
        if storage.home is not None:
            found[storage.home] = size
    ordered = sorted(found.items(), key=lambda item: -item[1])[:count]
    return [(size, f"%{value.name}: {value.type}") for value, size in ordered]


def check_sizes(
    graph: Graph,
    limit: int | None = None,
    one: int | None = None,
    refused: Callable[[int, int], None] = lambda needed, limit: None,
) -> None:
    """MemoryLimitError, before anything is compiled or allocated, when a single tensor is larger than this machine's
    memory, than ``limit`` bytes (all that the session may hold), or than ``one`` (what a tensor may). ``refused`` is
    called before with what it needs, and the limit."""
    physical = physical_memory()
    bound = physical if limit is None else min(limit, physical)
    for node in graph:
        for value in node.outputs:
            size = nbytes(value)
            if size is not None and one is not None and size > one:
                refused(size, one)
                raise MemoryLimitError(
                    f"%{value.name}: {value.type} takes {size} bytes, and max_tensor_bytes is {one}",
                    node=node,
                    hint=f'if you trust model and inputs, allow more: options={{"max_tensor_bytes": {size}}}',
                )
            if size is not None and size > bound:
                refused(size, bound)
                needs = f"%{value.name}: {value.type} needs"
                if bound < physical:
                    raise MemoryLimitError(
                        f"{needs} {size_text(size)}, and memory_limit is {size_text(bound)}",
                        node=node,
                        hint="memory_limit of the session is smaller than this one tensor",
                    )
                raise MemoryLimitError(
                    f"{needs} {size / 2**30:.3g} GiB of {physical / 2**30:.3g} GiB",
                    node=node,
                    hint="the model asks for an absurd size, or an input is far too large",
                )


def physical_memory() -> int:
    """Bytes of main memory; a bound that no tensor reaches where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 48
