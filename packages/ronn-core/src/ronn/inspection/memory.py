"""Where in memory the values of a plan lie, and from which step to which."""

from __future__ import annotations

from typing import Any

from ronn.ir.graph import Value
from ronn.plan.guard import MARGIN
from ronn.plan.lifetime import Lifetimes, Storage, analyse, nbytes
from ronn.plan.memory import place
from ronn.plan.plan import Plan
from ronn.records import dataclass, field


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of the arena that one storage takes, from step ``first`` to step ``last`` (both included). ``values`` are
    those that lie in it, the first one made first; none for memory that a kernel works in."""

    values: tuple[str, ...]
    type: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class StepRow:
    """A call of the plan: its nodes, bytes of the arena in use while it runs, and bytes that a run allocates outside of
    it (outputs, and results of kernels that allocate; of known size only)."""

    label: str
    ops: str
    outputs: tuple[str, ...]
    arena: int
    outside: int


@dataclass(frozen=True)
class MemoryMap:
    """The memory of one run of a plan. ``size``: bytes of the arena. ``unknown``: values whose sizes are not known
    before they are made. ``peak``: the step at which the most bytes are in use."""

    title: str
    size: int
    blocks: tuple[Block, ...]
    steps: tuple[StepRow, ...]
    unknown: tuple[str, ...] = field(default=())

    @property
    def peak(self) -> int:
        return max(range(len(self.steps)), key=lambda i: self.steps[i].arena + self.steps[i].outside, default=0)

    def as_data(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "size": self.size,
            "peak": self.peak,
            "blocks": [[list(b.values), b.type, b.offset, b.size, b.first, b.last] for b in self.blocks],
            "steps": [[s.label, s.ops, list(s.outputs), s.arena, s.outside] for s in self.steps],
            "unknown": list(self.unknown),
        }


def memory_map(plan: Plan, title: str) -> MemoryMap:
    """The map of one plan; its sub-plans have maps of their own."""
    inputs, outputs = plan.ends
    lifetimes = analyse(plan.calls, inputs, outputs)
    size = place(lifetimes.arena_storages(), MARGIN if plan.guard else 0)
    made = {v: s for v, s in lifetimes.storage.items() if s.first >= 0}
    names: dict[Storage, list[Value]] = {}
    for value, storage in made.items():
        names.setdefault(storage, []).append(value)
    steps = len(plan.calls)
    blocks = [_block(s, names.get(s, []), steps) for s in lifetimes.arena_storages()]
    outside = [s for s in names if s.external]
    arena = _levels([(s.first, s.last, s.size or 0) for s in lifetimes.arena_storages()], steps)
    heap = _levels([(s.first, s.last, nbytes(s.home) or 0) for s in outside if s.home is not None], steps)
    rows = tuple(
        StepRow(
            ", ".join(n.label for n in call.nodes), "+".join(dict.fromkeys(n.op_id for n in call.nodes)),
            tuple(v.name for v in call.outputs if v.name), arena[i], heap[i],
        )
        for i, call in enumerate(plan.calls)
    )  # fmt: skip
    return MemoryMap(title, size, tuple(blocks), rows, _unknown(lifetimes))


def _block(storage: Storage, values: list[Value], steps: int) -> Block:
    kind = str(values[0].type) if values else "scratch of a kernel"
    last = min(storage.last, steps - 1)  # what outputs are views of lives on to the end of the run
    return Block(tuple(v.name for v in values), kind, storage.offset, storage.size or 0, storage.first, last)


def _unknown(lifetimes: Lifetimes) -> tuple[str, ...]:
    return tuple(v.name for v, s in lifetimes.storage.items() if s.first >= 0 and s.home is v and nbytes(v) is None)


def _levels(spans: list[tuple[int, int, int]], steps: int) -> list[int]:
    """Bytes alive at each step, of (first, last, bytes)."""
    changes = [0] * (steps + 1)
    for first, last, size in spans:
        changes[first] += size
        if last + 1 < steps:
            changes[last + 1] -= size
    level, found = 0, []
    for change in changes[:steps]:
        level += change
        found.append(level)
    return found
