"""What a profile holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ronn.records import dataclass, field

if TYPE_CHECKING:
    import os

    from ronn.provider.native import Ceilings

NATIVE, PYTHON = "native", "python"


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One kernel (or one function that the plan calls from Python). Times in seconds, medians over runs.

    call: number of the plan's call that it is part of, in the profile's graph. kind: ``native`` or ``python``.
    flops, nbytes: work and traffic, estimated from operator and sizes where the kernel does not say. shares: into how
    many the work was cut. calls: how often it ran in one run of the model (bodies of loops run several times).
    """

    name: str
    node: str
    ops: str
    provider: str
    kind: str
    call: int
    seconds: float
    shares: int = 1
    flops: int = 0
    nbytes: int = 0
    calls: int = 1

    @property
    def gflops(self) -> float:
        """Billions of operations a second."""
        return self.flops * self.calls / self.seconds / 1e9 if self.seconds > 0 else 0.0

    @property
    def gbytes(self) -> float:
        """Billions of bytes a second."""
        return self.nbytes * self.calls / self.seconds / 1e9 if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A call of the plan: a node of the model, or several that were fused. ``inputs`` are calls that it follows."""

    index: int
    label: str
    ops: str
    provider: str
    kind: str
    inputs: tuple[int, ...]
    signature: str
    nbytes: int
    depth: int = 0  # in how many control-flow nodes it lies


@dataclass(frozen=True, slots=True)
class Span:
    """A kernel on the timeline of one run: seconds from the run's start."""

    kernel: int
    start: float
    seconds: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a run goes. Times in seconds.

    wall, fastest: median and least of whole runs without a clock inside. python: what a run spends outside of kernels:
    between them, on checks of inputs, on making outputs; measured with the clock on. kernels: in the order in which
    they run. spans: the quickest of the runs with a clock.
    """

    model: str
    signature: str
    threads: int
    runs: int
    wall: float
    fastest: float
    python: float
    kernels: Sequence[KernelTime]
    graph: Sequence[GraphNode]
    spans: Sequence[Span]
    ceilings: Ceilings | None = None
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def native(self) -> float:
        """Seconds in native kernels."""
        return sum(k.seconds for k in self.kernels if k.kind == NATIVE)

    @property
    def functions(self) -> float:
        """Seconds in functions that the plan calls from Python: kernels of NumPy, mostly."""
        return sum(k.seconds for k in self.kernels if k.kind == PYTHON)

    @property
    def accounted(self) -> float:
        """Seconds of all kernels and of Python: a run that nothing disturbs. Much less than ``wall`` on a busy machine,
        where a run waits for its processor, but hardly ever in the same kernel."""
        return self.native + self.functions + self.python

    @property
    def gflops(self) -> float:
        """Billions of operations a second over an undisturbed run."""
        whole = self.accounted
        return sum(k.flops * k.calls for k in self.kernels) / whole / 1e9 if whole > 0 else 0.0

    def by_time(self) -> list[KernelTime]:
        """The kernels, slowest first."""
        return sorted(self.kernels, key=lambda k: -k.seconds)

    def of_peak(self, kernel: KernelTime) -> float | None:
        """The kernel's share of what the machine can do at its ratio of operations to bytes (the roofline); None where
        that is not known."""
        if self.ceilings is None or kernel.seconds <= 0 or not (kernel.flops or kernel.nbytes):
            return None
        least = max(kernel.flops / self.ceilings.flops, kernel.nbytes / self.ceilings.cache)
        return min(least * kernel.calls / kernel.seconds, 9.99)

    def __str__(self) -> str:
        from ronn.profile.report import text

        return text(self)

    def as_data(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        from ronn.profile.report import as_data

        return as_data(self)

    def trace(self) -> dict[str, Any]:
        """The timeline in the format of chrome://tracing and Perfetto."""
        from ronn.profile.report import trace

        return trace(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes ``.html`` (one page that needs nothing else), ``.trace.json`` (for Perfetto) or ``.json``."""
        from ronn.profile.report import save

        save(self, path)
