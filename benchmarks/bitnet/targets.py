"""What is aimed at, held against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.bitnet.contestants import AVX2, BINARY, RIVALS, TERNARY, XNOR
from benchmarks.bitnet.measure import Row
from benchmarks.bitnet.sizes import Size

OUT, MANY = ("out", "out 2", "out 3"), ("many", "many 2")


@dataclass(frozen=True)
class Target:
    """``found`` are the figures by case; all must reach ``goal``. None were measured: met is None."""

    what: str
    goal: float
    unit: str
    found: tuple[float, ...]

    @property
    def met(self) -> bool | None:
        return all(v >= self.goal for v in self.found) if self.found else None


def targets(rows: Sequence[Row], sizes: Sequence[Size]) -> list[Target]:
    by = {(r.contestant, r.kind): r for r in rows}
    smaller = {s.what: s.smaller for s in sizes}

    def over(name: str, kinds: Sequence[str], of: Callable[[Row], float] = lambda r: r.ratio) -> tuple[float, ...]:
        return tuple(of(by[name, kind]) for kind in kinds if (name, kind) in by)

    def against(rival: str, kinds: Sequence[str]) -> tuple[float, ...]:
        both = [kind for kind in kinds if (TERNARY, kind) in by and (rival, kind) in by]
        return tuple(by[rival, kind].microseconds / by[TERNARY, kind].microseconds for kind in both)

    def less(what: str) -> tuple[float, ...]:
        return (smaller[what],) if what in smaller else ()

    short = {BINARY: "binary", TERNARY: "ternary", XNOR: "XNOR"}
    made = [
        Target(f"1 row from memory, {short[name]}, over the best float32", goal, "x", over(name, OUT))
        for name, goal in ((TERNARY, 14), (BINARY, 25), (XNOR, 28))
    ]
    made.append(Target("1 row from memory, ternary with AVX2 code, over the best float32", 10, "x", over(AVX2, OUT)))
    made += [
        Target(f"128 rows, {short[name]}, over the best float32", goal, "x", over(name, MANY))
        for name, goal in ((TERNARY, 4), (BINARY, 7), (XNOR, 18))
    ]
    made += [
        Target(f"{where}, ternary, over {rival}", goal, "x", against(rival, kinds))
        for where, kinds, goal in (
            ("1 row from memory", OUT, 1.3), ("1 row in cache", ("in",), 1.8), ("128 rows", MANY, 2),
        )
        for rival in RIVALS
    ]  # fmt: skip
    made.append(
        Target("1 row from memory, ternary, of the read test", 90, "%", over(TERNARY, OUT, lambda r: 100 * r.of_read))
    )
    made += [
        Target(f"weights smaller than float32: {what}", goal, "x", less(key))
        for what, goal, key in (
            ("binary", 31, "binary, packed in memory"),
            ("ternary, packed in memory", 15.5, "ternary, packed in memory"),
            ("ternary on disk", 19, "ternary, on disk, five in a byte"),
        )
    ]  # fmt: skip
    return made
