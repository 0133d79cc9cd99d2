"""What a benchmark holds. Times in seconds, memory in bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.records import dataclass, field

if TYPE_CHECKING:
    import os

RONN = "ronn"
_BARS = 16  # of a histogram


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run: who (``ronn`` or another runtime), at which sizes, with how many threads, by how many callers at
    once. items: how many a run works on (the size of its batch); 1 where the model leaves no batch open.

    median_low, median_high: where the median lies with 95 % confidence, as if runs were independent of each other.
    histogram: of times from the quickest to ``histogram_to``, which is P95 or little more; later ones are left out.
    """

    who: str
    sizes: str
    threads: int
    callers: int
    items: int
    runs: int
    runs_per_second: float
    p50: float
    p95: float
    p99: float
    mean: float
    minimum: float
    maximum: float
    median_low: float
    median_high: float
    histogram: tuple[int, ...]
    histogram_to: float

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What rows of two benchmarks are matched by."""
        return self.who, self.sizes, self.threads, self.callers

    @property
    def items_per_second(self) -> float:
        return self.items * self.runs_per_second

    @classmethod
    def of(
        cls, who: str, sizes: str, threads: int, callers: int, items: int, times: Sequence[float], wall: float
    ) -> Row:
        """The row of these times (at least one), taken within ``wall`` seconds."""
        ordered = np.sort(np.asarray(times, np.float64))
        n = ordered.size
        p50, p95, p99 = (float(v) for v in np.percentile(ordered, (50, 95, 99)))
        # The ranks between which the median lies: a binomial distribution, approximated by the normal one.
        off = 0.98 * math.sqrt(n)
        low, high = max(math.floor(n / 2 - off), 0), min(math.ceil(n / 2 + off), n - 1)
        top = max(p95, float(ordered[0]) * 1.05)
        counts = np.histogram(ordered, _BARS, (float(ordered[0]), top))[0]
        return cls(
            who=who, sizes=sizes, threads=threads, callers=callers, items=items, runs=n,
            runs_per_second=n / wall if wall > 0 else 0.0,
            p50=p50, p95=p95, p99=p99, mean=float(ordered.mean()), minimum=float(ordered[0]),
            maximum=float(ordered[-1]), median_low=float(ordered[low]), median_high=float(ordered[high]),
            histogram=tuple(int(c) for c in counts), histogram_to=top,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Start:
    """Until a runtime has given its first result: seconds to load the model (None: not measured), and of the first run.
    compiles: kernels that were compiled to machine code meanwhile, because the cache had none."""

    who: str
    load: float | None
    first_run: float
    compiles: int = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether another runtime gave the same outputs, by the tolerance of ``ronn.numerics``; else why not. relative: the
    largest difference as a share of the largest number."""

    equal: bool
    reason: str
    relative: float

    def __str__(self) -> str:
        return f"the same, to {self.relative:.1e} of the largest number" if self.equal else f"differ: {self.reason}"


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """weights, packed, arenas, mapped: as in ``session.memory()``, after the first runs. process: of the whole process
    then. grown: by how much the process grew since before the model was loaded. peak: the most so far."""

    weights: int
    packed: int
    arenas: int
    mapped: int
    process: int
    grown: int
    peak: int


@dataclass(frozen=True)
class Benchmark:
    """What was measured: rows in the order of the table, RONN's first.

    signature: input types of the first size. starts: RONN's is left out where the session had run before. agreements:
    with each other runtime. notes: what disturbed the
    measurement, or what the reader should know.
    """

    model: str
    signature: str
    rows: Sequence[Row]
    starts: Sequence[Start]
    memory: MemoryUse | None
    machine: dict[str, Any]
    versions: dict[str, str]
    agreements: dict[str, Agreement] = field(default_factory=dict)
    notes: Sequence[str] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        from ronn.benchmark.report import text

        return text(self)

    def as_data(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        from ronn.benchmark.report import as_data

        return as_data(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSON that ``ronn bench --compare`` reads."""
        from ronn.benchmark.report import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Benchmark:
        """Reads what ``save`` or ``ronn bench --json`` wrote. InputError where it is something else."""
        from ronn.benchmark.report import load

        return load(path)
