"""What a device must be able to do so that programs run on it: hold memory, move bytes, compile text, launch kernels.

``Launcher`` is all that a new device writes beside its dialect. Everything is asynchronous where the device can: what
is given to one launcher happens in the order in which it was given, and ``finish`` waits for all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Param, Target

Memory = Any
"""Memory of the device, as its launcher knows it."""


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
    """When the device worked on something: nanoseconds of its own clock."""

    name: str
    begin: int
    end: int


class Launcher:
    """A device that runs C-like kernels. Methods raise ``ronn.errors.ExecutionError`` for what fails, with the device's
    own words; ``MemoryLimitError`` where there is no more memory."""

    target: Target

    def allocate(self, nbytes: int) -> Memory:
        """Memory of at least ``nbytes``, aligned to 64 bytes; not zeroed."""
        raise NotImplementedError(f"{type(self).__name__}.allocate")

    def free(self, memory: Memory) -> None:
        """Gives memory back; nothing that runs uses it."""

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

    def bind(self, entry: Entry, arguments: Sequence[Argument], grid: Grid) -> Callable[[], None]:
        """A launch with these arguments: each call enqueues it. One thread at a time calls it."""
        raise NotImplementedError(f"{type(self).__name__}.bind")

    def finish(self) -> None:
        """Waits until everything is done."""

    def timeline(self) -> Sequence[Timed] | None:
        """What the device did since it was last asked, in order; None where it keeps no time."""
        return None
