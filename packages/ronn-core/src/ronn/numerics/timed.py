"""How long the sides of a comparison take, and how many rows a second they do: bursts in turn, so that whatever else
the machine does falls on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ronn.benchmark.timing import Taken, in_turn, single
from ronn.numerics.comparison import Latency, Side, Throughput
from ronn.numerics.samples import Sample

if TYPE_CHECKING:
    from ronn.values import ValueInfo

Tell = Callable[[str, float], None]


class Contestant(Protocol):
    """Something that runs a sample, and the side that its times are for."""

    side: Side

    def runner(self, sample: Sample) -> Callable[[], object]: ...


def take_times(
    contestants: Sequence[Contestant],
    sample: Sample,
    inputs: Sequence[ValueInfo],
    seconds: float,
    *,
    batch: int | None,
    pause: float,
    tell: Tell,
) -> str | None:
    """Gives each side its latency and throughput; says where ``batch`` could not be had.

    Without ``batch`` both are of the sample as it is. With one the latency is of one row, the throughput of so many,
    as far as the model leaves the first axis of its inputs open. seconds: for each side and each of the two.
    """
    rows = rows_of(sample.feed, inputs)
    note = None
    if batch is not None and rows is None:
        note = "the model fixes the first axis of its inputs, or has none: throughput is of the sample as it is"
        batch = None
    one = sample if batch is None else resized(sample, inputs, 1)
    found = _take(contestants, one, seconds, pause, lambda share: tell("taking times in turn", share))
    for c in contestants:
        taken = found[c.side.letter]
        times = np.asarray(taken.times) * 1e3
        if times.size:
            p95 = float(np.percentile(times, 95))
            c.side.latency = Latency(
                float(np.median(times)), p95, float(times.min()), int(times.size), rows_of(one.feed, inputs)
            )
    several = batch is not None and batch > 1
    if several and batch is not None:
        many = resized(sample, inputs, batch)
        found = _take(contestants, many, seconds, pause, lambda share: tell(f"{batch} rows at a time", share))
    count = batch if several else rows_of(one.feed, inputs)
    for c in contestants:
        times = np.asarray(found[c.side.letter].times)
        if times.size:
            c.side.throughput = Throughput(1 if count is None else count, count is not None, float(np.median(times)))
    return note


def _take(
    contestants: Sequence[Contestant], sample: Sample, seconds: float, pause: float, advance: Callable[[float], None]
) -> dict[str, Taken]:
    takers = {c.side.letter: single(c.runner(sample)) for c in contestants}
    return in_turn(takers, seconds * len(takers), pause=pause, advance=advance)


def rows_of(feed: Mapping[str, Any], inputs: Sequence[ValueInfo]) -> int | None:
    """The size of the axis that the model leaves open as the first of its first input; None where it does not."""
    for info in inputs:
        array = feed.get(info.name)
        if not isinstance(array, np.ndarray) or not array.ndim or not info.shape or isinstance(info.shape[0], int):
            return None
        return int(array.shape[0])
    return None


def resized(sample: Sample, inputs: Sequence[ValueInfo], rows: int) -> Sample:
    """The sample with so many rows: the first ones, or all again and again. Inputs whose first axis is another than
    that of the first input stay."""
    first = inputs[0].shape[0] if inputs and inputs[0].shape else None
    feed = dict(sample.feed)
    for info in inputs:
        array = feed.get(info.name)
        if isinstance(array, np.ndarray) and array.ndim and info.shape and info.shape[0] == first and len(array):
            feed[info.name] = np.ascontiguousarray(array[np.arange(rows) % len(array)])
    return Sample(f"{sample.name}, {rows} row{'s' if rows != 1 else ''}", feed)
