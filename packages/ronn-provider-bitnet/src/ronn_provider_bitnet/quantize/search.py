"""Mixed precision: which layer gets how many bits. Every layer begins with the fewest; in each step the one layer gets
more whose noise, as it is expected in the outputs, falls most for a byte. The path is cut where a budget of bytes ends,
or where the model is good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ronn.errors import OptionError
from ronn.records import dataclass
from ronn_provider_bitnet.quantize.fit import Candidate


@dataclass(frozen=True, slots=True)
class Point:
    """A stage of the search. choice: of each layer's candidates, by number; noise: the sum of the layers'."""

    choice: tuple[int, ...]
    bytes: int
    noise: float
    sqnr_db: float | None = None


def path(layers: Sequence[Sequence[Candidate]], most: int | None = None) -> list[Point]:
    """From the fewest bytes to the least noise, a layer a step, none of which takes all bytes beyond ``most``."""
    at = [min(range(len(c)), key=lambda i: (c[i].nbytes, c[i].noise)) for c in layers]
    points = [_point(layers, at)]
    while True:
        best: tuple[float, int, int] | None = None
        for number, (options, now) in enumerate(zip(layers, at, strict=True)):
            for i, option in enumerate(options):
                gain, cost = options[now].noise - option.noise, option.nbytes - options[now].nbytes
                if gain <= 0 or (most is not None and points[-1].bytes + cost > most):
                    continue
                worth = gain / cost if cost > 0 else float("inf")
                if best is None or worth > best[0]:
                    best = worth, number, i
        if best is None:
            return points
        at[best[1]] = best[2]
        points.append(_point(layers, at))


def _point(layers: Sequence[Sequence[Candidate]], at: Sequence[int]) -> Point:
    chosen = [options[i] for options, i in zip(layers, at, strict=True)]
    return Point(tuple(at), sum(c.nbytes for c in chosen), sum(c.noise for c in chosen))


def within_bytes(layers: Sequence[Sequence[Candidate]], budget: int, fixed: int) -> list[Point]:
    """The path as far as the bytes, with ``fixed`` of everything else, are within the budget. OptionError where they
    never are."""
    points = path(layers, budget - fixed)
    least = points[0].bytes + fixed
    if least > budget:
        raise OptionError(
            f"--max-bytes {budget}: the constants take {least} bytes with the fewest bits that are allowed",
            hint="fewer --bits, --edge-bits of fewer, or a larger budget",
        )
    return points


def good_enough(
    points: Sequence[Point], least_db: float, measure: Callable[[Point], float]
) -> tuple[Point, list[Point]]:
    """The first point whose outputs are measured to have ``least_db`` of signal over noise, found by halving; the last
    one where none has. And the points that were measured."""
    low, high = 0, len(points) - 1
    measured: dict[int, Point] = {}

    def db(i: int) -> float:
        if i not in measured:
            p = points[i]
            measured[i] = Point(p.choice, p.bytes, p.noise, measure(p))
        found = measured[i].sqnr_db
        assert found is not None
        return found

    while low < high:
        middle = (low + high) // 2
        if db(middle) >= least_db:
            high = middle
        else:
            low = middle + 1
    db(low)
    return measured[low], [measured[i] for i in sorted(measured)]
