"""Native work: calls into machine code that the plan runs without Python between them.

A provider that has kernels at addresses returns ``Call``s with ``native=NativeWork(...)``. The plan gives their values
places in its arena, writes the addresses into argument blocks, and hands runs of consecutive calls to the provider's
``Engine`` in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ronn.records import dataclass, field

if TYPE_CHECKING:
    import numpy as np

    from ronn.ir.graph import Value
    from ronn.plan.stop import Stop


@dataclass(frozen=True, slots=True, eq=False)
class At:
    """A word that becomes the address of ``value``, ``offset`` bytes on."""

    value: Value
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Scratch:
    """A word that becomes the address of scratch memory number ``index`` of the call, ``offset`` bytes on."""

    index: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A word that becomes the address of a zeroed int64; a kernel that sets it fails the run with ``message``."""

    message: str


@dataclass(frozen=True, slots=True)
class Counted:
    """An output whose size the kernels find out. They leave it at the start of scratch memory number ``memory``, which
    has room for the largest that there can be, and its one size that is None in ``shape`` as an int64 at the start of
    scratch memory number ``count``."""

    memory: int
    shape: tuple[int | None, ...]
    count: int


Word = int | At | Scratch | Status


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One kernel: where it is, the words of its argument block, and into how many shares its work may be cut.

    cost: estimated nanoseconds on one core. flops, nbytes: work and traffic, for profiles.
    """

    name: str
    address: int
    words: Sequence[Word]
    chunks: int = 1
    cost: float = 0.0
    flops: int = 0
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What ``threads`` threads reach at most: float32 operations a second, bytes a second to and from main memory, and
    within the caches. A copied byte counts twice: read and written."""

    threads: int
    flops: float
    memory: float
    cache: float


class Engine:
    """Runs kernels. One instance stands for one way of running; calls of one engine are run together."""

    def launch(self, steps: np.ndarray, clock: np.ndarray | None = None) -> None:
        """Runs ``steps``, int64[n, 3]: address of a kernel, address of its argument block, number of shares.

        ``clock``, int64[n + 1], takes the time before each step and at the end, in ticks of ``tick``.
        """
        raise NotImplementedError(f"{type(self).__name__}.launch")

    def bind(self, steps: np.ndarray) -> Callable[[Stop, int], int]:
        """A function that launches ``steps``, for an array that stays where it is. One thread at a time calls it.

        It takes a stop and the number of the step to begin with. It may return between two steps: when the stop is due,
        and from time to time, so that Python can handle signals; then it returns the number of the next step. When all
        are done it returns 0.
        """

        def run(stop: Stop, first: int) -> int:
            self.launch(steps[first:])
            return 0

        return run

    @property
    def tick(self) -> float:
        """Seconds of one unit of ``clock``."""
        raise NotImplementedError(f"{type(self).__name__}.tick")

    def ceilings(self) -> Ceilings | None:
        """What can be reached at most, measured now; None where nobody knows."""
        return None


@dataclass(slots=True)
class NativeWork:
    """What one call does natively. ``scratch`` are sizes in bytes. ``alias`` maps an output to the input whose bytes it
    is, and where in them it starts: (input, byte offset); such an output needs no kernel. ``joins`` maps inputs to the
    byte of output 0 from which on it holds them as they are: a plan may make them there, and then runs no kernel when
    all of the output is made of such inputs, else kernels that find them in their places already. ``counted`` maps
    outputs of unknown size to where they are found after the run. ``keep`` holds what the addresses in the words point
    into."""

    engine: Engine
    kernels: Sequence[KernelCall] = ()
    scratch: Sequence[int] = ()
    alias: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    keep: Sequence[Any] = ()
    joins: Mapping[int, int] = field(default_factory=dict)
    counted: Mapping[int, Counted] = field(default_factory=dict)
