"""What a device must be able to do so that programs run on it: hold memory, move bytes, compile text, launch kernels.

``Launcher`` is all that a new device writes beside its dialect. Everything is asynchronous where the device can: what
is given to one launcher happens in the order in which it was given, and ``finish`` waits for all of it. A device that
can do more at once gives queues of its own (``Launcher.queue``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Param, Target

Memory = Any
"""Memory of the device, as its launcher knows it."""

Ticket = Any
"""Something that was given to a queue, so that others can wait for it; None: what comes later waits in any case."""


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes of a memory: where they start, and how many there are."""

    memory: Memory
    start: int
    nbytes: int


Argument = Place | int | float | None
"""A parameter's value: a place for an array (None: there is none), a number otherwise."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel of a compiled program: what to launch by, its parameters, and the local memory that it takes."""

    name: str
    handle: Any
    params: Sequence[Param]
    local_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Timed:
    """When the device worked on something: nanoseconds by the clock of ``time.perf_counter_ns``."""

    name: str
    begin: int
    end: int


class Launcher:
    """A device that runs C-like kernels. Methods raise ``ronn.errors.ExecutionError`` for what fails, with the device's
    own words; ``DeviceLostError`` where nothing works any more, ``MemoryLimitError`` where there is no more memory."""

    target: Target
    alignment: int = 64
    """Bytes: where parts of memory may start."""
    largest: int | None = None
    """Bytes that can be allocated at once; None: nothing but memory itself limits it."""

    compiles: int = 0
    """How many kernels were compiled, by ``build``, and not found in a cache."""

    def allocate(self, nbytes: int) -> Memory:
        """Memory of at least ``nbytes``, aligned to 64 bytes; not zeroed."""
        raise NotImplementedError(f"{type(self).__name__}.allocate")

    def free(self, memory: Memory) -> None:
        """Gives memory back; nothing that runs uses it."""

    def part(self, whole: Place) -> Place:
        """The same bytes, as memory of their own where the device knows such parts."""
        return whole

    def write(self, place: Place, array: np.ndarray) -> None:
        """Copies a contiguous host array to a place. The array is not changed before ``finish``."""
        raise NotImplementedError(f"{type(self).__name__}.write")

    def read(self, place: Place, array: np.ndarray) -> None:
        """Copies a place to a contiguous host array; it is there after ``finish``."""
        raise NotImplementedError(f"{type(self).__name__}.read")

    def build(self, sources: Mapping[str, str], params: Mapping[str, Sequence[Param]]) -> dict[str, Entry]:
        """Compiles kernels (entry -> text behind the prelude), all at once; an entry's text may be in the cache.

        ProviderError, with the compiler's log and the lines it means, for a text that does not compile.
        """
        raise NotImplementedError(f"{type(self).__name__}.build")

    def keep(self, entries: Mapping[str, Entry]) -> None:
        """Told once, when the kernels have run for the first time: what was compiled may be kept for later."""

    def bind(self, entry: Entry, arguments: Sequence[Argument], grid: Grid) -> Callable[[], Any]:
        """A launch with these arguments: each call enqueues it. One thread at a time calls it."""
        raise NotImplementedError(f"{type(self).__name__}.bind")

    def finish(self) -> None:
        """Waits until everything is done."""

    def queue(self) -> Queue:
        """A queue for one run at a time. Runs of several threads have one each."""
        return Queue(self)


Launch = Callable[[Sequence[Ticket]], Ticket]
"""Enqueues a kernel behind everything that its queue was given before, and behind these tickets."""


class Queue:
    """What one run gives to a device. This one has the launcher do everything in order."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def write(self, place: Place, array: np.ndarray) -> Ticket:
        """As ``Launcher.write``; a ticket where launches must be told to wait for it."""
        self._launcher.write(place, array)

    def read(self, place: Place, array: np.ndarray, after: Ticket) -> None:
        """As ``Launcher.read``, as soon as ``after``, the launch that made it, is done."""
        self._launcher.read(place, array)

    def bind(self, entry: Entry, arguments: Sequence[Argument], grid: Grid) -> Launch:
        """As ``Launcher.bind``."""
        launch = self._launcher.bind(entry, arguments, grid)
        return lambda _after: launch()

    def wait(self, ticket: Ticket) -> None:
        """Waits until a launch is done."""
        self._launcher.finish()

    def failed(self, ticket: Ticket) -> bool:
        """Whether it is known that this launch is what failed."""
        return False

    def finish(self) -> None:
        """Waits until everything is done."""
        self._launcher.finish()

    def clock(self, on: bool) -> None:
        """Whether times are to be kept from now on; nothing is enqueued."""

    def timeline(self) -> Sequence[Timed] | None:
        """What was written, launched and read since the clock was switched on, in the order in which it was enqueued;
        None where no time is kept. All is done."""
        return None

    def close(self) -> None:
        """Gives back what it holds; all is done."""
