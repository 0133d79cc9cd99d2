"""Guard zones on a device (RONN_GUARD=1): kernels run one by one, and every byte that they had no business with is
watched, as ``ronn.plan.guard`` does on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ronn.errors import ProviderError
from ronn.plan.guard import MARGIN, POISON
from ronn_codegen.clike.frame import Frame
from ronn_codegen.clike.launcher import Launch, Place, Ticket

if TYPE_CHECKING:
    from ronn.plan.lifetime import Storage
    from ronn_codegen.clike.program import Program

__all__ = ["MARGIN", "GuardedFrame"]


class GuardedFrame(Frame):
    """A frame every kernel of which is checked. Buffers are full of set bits before they are written."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._whole = Place(self.arena, 0, program.arena_bytes)
        self._fill([(0, program.arena_bytes)])
        self.launches = [(self._guarded(n, launch), needs, reads) for n, (launch, needs, reads) in
                         enumerate(self.launches)]  # fmt: skip

    def _guarded(self, number: int, launch: Launch) -> Launch:
        program, step = self.program, self.program.steps[number]
        first = number == 0 or program.steps[number - 1].call != step.call

        def checked(after: Sequence[Ticket]) -> Ticket:
            self.queue.finish()
            if first:
                made = [s for s in program.storages if s.first == step.call]
                self._fill([(s.offset, (s.size or 0)) for s in made])
            before = self._bytes()
            ticket = launch(after)
            self.queue.finish()
            self._compare(number, before, self._bytes())
            return ticket

        return checked

    def _compare(self, number: int, before: np.ndarray, after: np.ndarray) -> None:
        program, step = self.program, self.program.steps[number]
        own = [program.storage(v) for v in program.calls[step.call].outputs if v in program.lifetimes.storage]
        own += [s for (call, _), s in program.lifetimes.scratch.items() if call == step.call]
        changed = before != after
        for s in own:
            changed[s.offset : s.offset + (s.size or 0)] = False
        start, size = program.status
        changed[start : start + size] = False
        found = np.flatnonzero(changed)
        if found.size:
            where = self._name(int(found[0]), step.call)
            raise ProviderError(
                f"kernel {step.kernel.signature.name!r} wrote {found.size} bytes {where}", node=step.nodes[0]
            )

    def _name(self, first: int, call: int) -> str:
        def distance(s: Storage) -> int:
            return max(s.offset - first, first - s.offset - (s.size or 0) + 1, 0)

        alive = [s for s in self.program.storages if s.first <= call <= s.last]
        near = min(alive, key=distance, default=None)
        if near is None:
            return "into memory that nobody uses"
        name = f"%{near.values[0].name}" if near.values else "its scratch memory"
        if first < near.offset:
            return f"in front of {name}, the first of them {near.offset - first} bytes before it"
        over = first - near.offset - (near.size or 0)
        return f"behind the end of {name}" if over >= 0 else f"into {name}, from byte {first - near.offset} on"

    def _bytes(self) -> np.ndarray:
        found = np.empty(self._whole.nbytes, np.uint8)
        self.queue.read(self._whole, found, None)
        self.queue.finish()
        return found

    def _fill(self, ranges: Sequence[tuple[int, int]]) -> None:
        for start, size in ranges:
            if size:
                self.queue.write(Place(self.arena, start, size), np.full(size, POISON, np.uint8))
                self.queue.finish()
