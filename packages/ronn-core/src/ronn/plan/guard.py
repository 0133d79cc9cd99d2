"""Guard zones (RONN_GUARD=1): native kernels run one by one, and every byte that they had no business with is watched.

Around each buffer of the arena and each output lie zones that belong to nobody. Buffers are full of NaNs (all bits set)
before they are written and again when nobody needs them any more, so that a read of memory that was never written, or
no longer holds what it held, shows in the results. After each kernel everything outside of the outputs and the scratch
memory of its call must be what it was: other buffers, zones, inputs, constants.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import ProviderError
from ronn.ir.graph import Value
from ronn.plan.lifetime import ALIGNMENT, Storage
from ronn.plan.segment import Bound, Segment, address, constant
from ronn.provider import Call

if TYPE_CHECKING:
    from ronn.plan.stop import Stop
    from ronn.usage import Copies

MARGIN = 256
"""Bytes of a zone on each side of a buffer; a multiple of the alignment."""
POISON = 0xFF


class _Watched:
    """Bytes outside of the arena, with what they should be: ``body`` is the part that has an owner."""

    def __init__(self, name: str, memory: np.ndarray, body: slice, value: Value) -> None:
        self.name = name
        self.memory = memory
        self.body = body
        self.value = value
        self.expected = memory.copy()

    def check(self, writable: bool) -> str:
        changed = self.memory != self.expected
        if writable:
            self.expected[self.body] = self.memory[self.body]
            changed[self.body] = False
        found = np.flatnonzero(changed)
        return "" if not found.size else _place(int(found[0]), found.size, self.body, self.name)


class GuardedBound(Bound):
    """A segment in one frame's arena, every kernel of which is checked."""

    __slots__ = ("_made", "_storages", "_sums")

    def __init__(self, segment: Segment, arena: np.ndarray | None, copies: Copies | None = None) -> None:
        super().__init__(segment, arena, copies)
        self._arena[:] = POISON
        self._storages = segment._lifetimes.arena_storages()
        self._sums = {id(c): [zlib.crc32(_bytes(a).data) for a in _constants(c)] for c in segment.calls}
        self._made: list[tuple[np.ndarray, slice]] = []

    def run(self, slots: list[Any], stop: Stop) -> None:
        """Runs the kernels one by one. What is to be written to is left alone, for there are no zones round it.

        Raises ProviderError, naming kernel and node, for a stray write."""
        segment = self._segment
        self._made = []
        for made in segment.made:
            slots[made.slot] = None
        self.fill(slots, self._guarded_empty)
        watched = [
            _Watched(f"%{m.value.name}", memory, body, m.value)
            for m, (memory, body) in zip(segment.made, self._made, strict=True)
        ]
        for e in segment.external:
            memory = _bytes(slots[e.slot])
            watched.append(_Watched(f"%{e.value.name}", memory, slice(0, memory.size), e.value))
        indices = dict(zip(map(id, segment.calls), segment.indices, strict=True))
        for k, (kernel, call) in enumerate(zip(segment.kernels, segment.owners, strict=True)):
            if stop.due:
                raise stop.error(call)
            index = indices[id(call)]
            if k == 0 or segment.owners[k - 1] is not call:
                self._poison(s for s in self._storages if s.first == index)
            before = self._arena.copy()
            segment.engine.launch(self._steps[k : k + 1], None if self.clock is None else self.clock[k : k + 2])
            self.check()
            stray = self._stray(before, call, index, watched)
            if stray:
                raise ProviderError(f"kernel {kernel.name!r} wrote {stray}", node=call.nodes[0])
            if k + 1 == len(segment.kernels):
                for found in segment.found:
                    slots[found.slot] = found.taken(self._arena)
            if k + 1 == len(segment.kernels) or segment.owners[k + 1] is not call:
                self._poison(s for s in self._storages if s.last == index)

    def _guarded_empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        memory = np.full(size + 2 * MARGIN + ALIGNMENT, POISON, np.uint8)
        start = MARGIN + -address(memory) % ALIGNMENT
        self._made.append((memory, slice(start, start + size)))
        return np.ndarray(shape, dtype, memory, start)

    def _poison(self, storages: Iterable[Storage]) -> None:
        for s in storages:
            self._arena[s.offset - MARGIN : s.offset + (s.size or 0) + MARGIN] = POISON

    def _stray(self, before: np.ndarray, call: Call, index: int, watched: list[_Watched]) -> str:
        """What a kernel of ``call`` changed that is not its own, in words; empty when it kept to its own."""
        lifetimes = self._segment._lifetimes
        assert call.native is not None
        own = [v for j, v in enumerate(call.outputs) if v.name and j not in call.native.alias]
        changed = before != self._arena
        mine = [lifetimes.storage[v] for v in own if v in lifetimes.storage]
        mine += [s for (i, _), s in lifetimes.scratch.items() if i == index]
        for s in mine:
            if s.offset >= 0:
                changed[s.offset : s.offset + (s.size or 0)] = False
        found = np.flatnonzero(changed)
        if found.size:
            return self._name(int(found[0]), found.size, index)
        for w in watched:
            told = w.check(w.value in own)
            if told:
                return told
        if self._sums[id(call)] != [zlib.crc32(_bytes(a).data) for a in _constants(call)]:
            return "into a constant"
        return ""

    def _name(self, first: int, count: int, index: int) -> str:
        """Where in the arena a changed byte is: by the nearest buffer that is in use."""
        alive = [s for s in self._storages if s.first <= index <= s.last]
        near = min(alive, key=lambda s: max(s.offset - first, first - s.offset - (s.size or 0) + 1, 0), default=None)
        if near is None:
            return f"{count} bytes into memory that nobody uses"
        name = f"%{near.values[0].name}" if near.values else "its scratch memory"
        return _place(first, count, slice(near.offset, near.offset + (near.size or 0)), name)


def _place(first: int, count: int, body: slice, name: str) -> str:
    if first < body.start:
        return f"{count} bytes, the first of them {body.start - first} bytes in front of {name}"
    if first >= body.stop:
        return f"{count} bytes, the first of them {first - body.stop} bytes behind the end of {name}"
    return f"{count} bytes into {name}, from byte {first - body.start} on"


def _bytes(array: np.ndarray) -> np.ndarray:
    """The array's own memory as bytes; it must be in C order."""
    return array.reshape(-1).view(np.uint8)


def _constants(call: Call) -> list[np.ndarray]:
    assert call.native is not None
    kept = [a for a in call.native.keep if isinstance(a, np.ndarray) and a.flags.c_contiguous]
    return kept + [constant(v) for v in call.inputs if v is not None and v.data is not None and v.data.dtype != object]
