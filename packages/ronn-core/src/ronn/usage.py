"""What a session says of the memory that it holds and of what it has done."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ronn.forks import renew_after_fork
from ronn.mapped import file_of
from ronn.plan.budget import size_text
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class PlanMemory:
    """The memory of a plan: bytes of one arena, how many there are, and how many of them no run uses now."""

    signature: str
    arena: int
    arenas: int
    idle: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a session holds.

    weights: constants of the model and what passes made of them; each array counts once. packed: constants in the form
    that kernels want (shared by all sessions of the same arrays). arenas: of all plans, idle ones included. idle: of
    arenas that no run uses now; ``trim()`` gives them back. total: weights + packed + arenas. plans: latest last.
    mapped: constants that are views of mapped files: the system reads them when they are needed, and takes their memory
    back when it is short; they are no part of the total. device: how much of the total lies in the memory of devices;
    constants there count as packed, and what runs need there as arenas of their plan.
    """

    weights: int
    packed: int
    arenas: int
    idle: int
    total: int
    plans: tuple[PlanMemory, ...]
    mapped: int = 0
    device: int = 0

    def __str__(self) -> str:
        return (
            f"{size_text(self.total)}: weights {size_text(self.weights)}, packed {size_text(self.packed)}, "
            f"arenas {size_text(self.arenas)} ({size_text(self.idle)} idle) of {len(self.plans)} plans"
            + (f"; mapped {size_text(self.mapped)}" if self.mapped else "")
            + (f"; on devices {size_text(self.device)}" if self.device else "")
        )


class Copies:
    """Arrays that runs copied on their way in and out. Whoever copies one counts it; nothing is counted else."""

    __slots__ = ("__weakref__", "_lock", "ins", "outs")

    def __init__(self) -> None:
        self.ins = self.outs = 0
        self._lock = threading.Lock()
        renew_after_fork(self)

    def count(self, ins: int = 0, outs: int = 0) -> None:
        """Adds to what was counted."""
        with self._lock:
            self.ins += ins
            self.outs += outs

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Stats:
    """What a session has done.

    runs: finished ones. plans: input signatures that have a plan now. planned: plans made so far. compiles: kernels (or
    kernel modules) that it had to compile because the machine-code cache had none. copies_in: inputs that a run had to
    copy before it could read them (lists, text, layouts that native kernels do not read). copies_out: outputs that it
    had to copy (inputs or constants given out as they are, results of sizes that nobody knew before, and buffers of
    ``out=`` that no kernel could write to).
    """

    runs: int
    plans: int
    planned: int
    compiles: int
    copies_in: int = 0
    copies_out: int = 0


def in_memory(arrays: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Those of the arrays that are not views of mapped files."""
    return (a for a in arrays if file_of(a) is None)


def mapped_bytes(arrays: Iterable[np.ndarray]) -> int:
    """Bytes of those of the arrays that are views of mapped files; equal views count once."""
    views = {(a.ctypes.data, a.shape, a.strides): a.nbytes for a in arrays if file_of(a) is not None}
    return sum(views.values())


def distinct_bytes(arrays: Iterable[np.ndarray], seen: set[int] | None = None) -> int:
    """Bytes of the arrays; those that are views of the same memory count once. ``seen`` is read and added to."""
    known = set[int]() if seen is None else seen
    total = 0
    for array in arrays:
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        if id(base) not in known:
            known.add(id(base))
            total += base.nbytes
    return total


def memory_of(plans: Sequence[Plan], weights: Iterable[np.ndarray]) -> Memory:
    """What plans hold, and the constants of the graphs that they are made from."""
    every = [(plan.signature, q) for plan in plans for q in plan.all_plans()]
    seen: set[int] = set()
    constants = [*weights, *(a for _, q in every for a in q.constants())]
    held = distinct_bytes(in_memory(constants), seen)
    packed = distinct_bytes(in_memory(a for _, q in every for a in q.packed()), seen)
    rows = [PlanMemory(signature, q.arena_size, *q.frames) for signature, q in every]
    there = [(signature, memory.held()) for signature, q in every for memory in q.devices]
    on_devices = [PlanMemory(signature, h.arena, h.arenas, h.idle) for signature, h in there]
    shared = sum({key: size for _, h in there for key, size in h.constants.items()}.values())
    device = shared + sum(r.arena * r.arenas for r in on_devices)
    rows += on_devices
    arenas, idle = sum(r.arena * r.arenas for r in rows), sum(r.arena * r.idle for r in rows)
    packed += shared
    return Memory(held, packed, arenas, idle, held + packed + arenas, tuple(rows), mapped_bytes(constants), device)
