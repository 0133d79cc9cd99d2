"""What ``ronn.compare`` has measured, as text and as data."""

from __future__ import annotations

from typing import Any

from ronn.numerics.bisection import finite
from ronn.numerics.difference import Difference
from ronn.numerics.fallen import Fallen
from ronn.plan.budget import size_text
from ronn.records import dataclass, field

OUTPUT, NODE = "output", "node"


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the runs of one side, taken in bursts in turn with the others; milliseconds. rows: of each run, None where the
    model leaves no first axis open."""

    median_ms: float
    p95_ms: float
    min_ms: float
    runs: int
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """rows: of a run, which takes ``seconds`` (the median). open: whether these are rows of an axis that the model
    leaves open, else whole runs."""

    rows: int
    open: bool
    seconds: float

    @property
    def per_second(self) -> float:
        return self.rows / self.seconds


@dataclass
class Side:
    """One of the things compared.

    letter: ``A`` is what the others are held against. name: model and what is special about the way it runs. file,
    weights, packed, memory: bytes of the model's files, of its constants as loaded, of these as kernels keep them, and
    of all that the session holds behind its first run (None for other runtimes). load_ms, first_ms: until there was a
    session, and of the first run, which also plans. placement: nodes by provider. fallen: nodes that there is something
    to say about.
    """

    letter: str
    name: str
    file: int | None = None
    weights: int | None = None
    packed: int | None = None
    memory: int | None = None
    load_ms: float = 0.0
    first_ms: float = 0.0
    latency: Latency | None = None
    throughput: Throughput | None = None
    placement: dict[str, int] = field(default_factory=dict)
    nodes: int = 0
    fallen: list[Fallen] = field(default_factory=list)


@dataclass
class Spread:
    """Differences of one value over the samples: the worst of them, means of cosine and agreement, the least signal to
    noise, and how many samples are beyond the tolerance."""

    found: list[Difference] = field(default_factory=list)

    @property
    def worst(self) -> Difference:
        from ronn.numerics.difference import worst

        return worst(self.found)

    @property
    def equal(self) -> bool:
        return all(d.equal for d in self.found)

    @property
    def beyond(self) -> int:
        return sum(not d.equal for d in self.found)

    @property
    def cosine(self) -> float | None:
        return _mean([d.cosine for d in self.found])

    @property
    def snr_db(self) -> float | None:
        known = [d.snr_db for d in self.found if d.snr_db is not None]
        return min(known) if known else None

    @property
    def argmax(self) -> float | None:
        return _mean([d.argmax for d in self.found])

    @property
    def differing(self) -> float:
        return max((d.differing for d in self.found), default=0.0)

    def as_data(self) -> dict[str, Any]:
        d = self.worst
        return {
            "equal": self.equal, "samples": len(self.found), "beyond": self.beyond, "reason": d.reason,
            "max_abs": finite(d.max_abs), "max_rel": finite(d.max_rel), "scale": finite(d.scale),
            "allowed": finite(d.allowed), "cosine": self.cosine,
            "snr_db": None if self.snr_db is None else finite(self.snr_db), "differing": self.differing,
            "not_finite": d.not_finite, "argmax": self.argmax,
        }  # fmt: skip


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


@dataclass
class Row:
    """A value of A and what stands for it on another side, ``letter``. how: by ``name``, ``structure`` or ``order``.
    node, op: of A, empty for outputs. placed: where the node of that name runs on the other side, as far as it is there
    by itself."""

    letter: str
    name: str
    other: str
    how: str
    spread: Spread
    node: str = ""
    op: str = ""
    placed: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of a side with A: same_class, the share of rows whose largest element is at the same place; cosine, snr_db: of
    the outputs. Of the worst output; None where no output has such a figure."""

    same_class: float | None
    cosine: float | None
    snr_db: float | None

    def as_data(self) -> dict[str, float | None]:
        snr = None if self.snr_db is None else finite(self.snr_db)
        return {"same_class": self.same_class, "cosine": self.cosine, "snr_db": snr}


@dataclass
class Comparison:
    """The result of ``ronn.compare``. ``str()`` is tables, ``as_data()`` plain data.

    sides: A, B and others. outputs: each output of A against that of every other side. nodes: each value inside of A
    against B's, in A's order. only_a, only_b: labels of nodes for which the other has no value. samples: their names.
    missing: outputs that a side lacks, or has too much. notes: what to know about it all.
    """

    sides: list[Side]
    outputs: list[Row]
    nodes: list[Row]
    samples: list[str]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether every output of every side is within the tolerance of A's."""
        return not self.missing and all(row.spread.equal for row in self.outputs)

    def worst_nodes(self) -> list[Row]:
        """The rows of ``nodes``, worst first."""
        return sorted(self.nodes, key=lambda r: (r.spread.equal, -r.spread.worst.badness))

    def first_beyond(self) -> Row | None:
        """The first value in A's order that is beyond the tolerance."""
        return next((r for r in self.nodes if not r.spread.equal), None)

    def agreement(self, letter: str) -> Agreement:
        """How a side agrees with A over all outputs."""
        spreads = [r.spread for r in self.outputs if r.letter == letter]

        def least(name: str) -> float | None:
            known = [v for s in spreads if (v := getattr(s, name)) is not None]
            return min(known) if known else None

        return Agreement(least("argmax"), least("cosine"), least("snr_db"))

    def as_data(self) -> dict[str, Any]:
        return {
            "equal": self.equal, "samples": self.samples,
            "agreement": {s.letter: self.agreement(s.letter).as_data() for s in self.sides[1:]},
            "sides": [_side(s) for s in self.sides],
            "outputs": [_row(r) for r in self.outputs], "nodes": [_row(r) for r in self.nodes],
            "only_a": list(self.only_a), "only_b": list(self.only_b), "missing": self.missing, "notes": self.notes,
        }  # fmt: skip

    def __str__(self) -> str:
        from ronn.numerics.comparison_text import text

        return text(self)


def _side(s: Side) -> dict[str, Any]:
    latency = None
    if s.latency is not None:
        latency = {n: getattr(s.latency, n) for n in ("median_ms", "p95_ms", "min_ms", "runs", "rows")}
    throughput = None
    if s.throughput is not None:
        throughput = {"rows": s.throughput.rows, "per_second": s.throughput.per_second}
    rows = [{n: getattr(f, n) for n in ("node", "op", "provider", "what", "reason")} for f in s.fallen]
    return {
        "letter": s.letter, "name": s.name, "file": s.file, "weights": s.weights, "packed": s.packed,
        "memory": s.memory, "load_ms": s.load_ms, "first_ms": s.first_ms, "latency": latency, "throughput": throughput,
        "placement": s.placement, "nodes": s.nodes, "fallen": rows,
    }  # fmt: skip


def _row(r: Row) -> dict[str, Any]:
    data = {n: getattr(r, n) for n in ("letter", "name", "other", "how", "node", "op", "placed")}
    return {**data, **r.spread.as_data()}


def bytes_text(size: int | None) -> str:
    return "" if size is None else size_text(size)
