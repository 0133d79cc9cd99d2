"""Cases, and the times of all contestants in them, in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.bitnet.chain import Chain, activations, long_chain
from benchmarks.bitnet.contestants import NUMPY, ORT, Contestant
from benchmarks.bitnet.limits import reader
from benchmarks.bitnet.runners import OrtBits, Runner
from ronn.benchmark.timing import PAUSE_S, in_turn, single

STREAMED = 200_000_000  # bytes of weights of a chain out of cache
READ = 256 << 20
BURST = 0.08
LIKE = 0.98  # the least cosine of what a whole chain gives with the exact chain


@dataclass(frozen=True)
class Case:
    """``m`` rows through vectors of ``widths``; kind: where the weights are, or what it is like. layers: of a chain in
    the cache; 0: as many as it takes to be out of it."""

    name: str
    kind: str
    widths: tuple[int, ...]
    m: int
    layers: int = 0


CASES = (
    Case("1 row, 4096 x 4096, from memory", "out", (4096,), 1),
    Case("8 rows, 4096 x 4096, from memory", "few", (4096,), 8),
    Case("1 row, 4096 x 11008 and back, from memory", "out 2", (4096, 11008), 1),
    Case("1 row, 2560 x 6912 and back, from memory", "out 3", (2560, 6912), 1),
    Case("1 row, 4096 x 4096, in cache", "in", (4096,), 1, 2),
    Case("128 rows, 4096 x 4096", "many", (4096,), 128, 2),
    Case("128 rows, 2560 x 6912 and back", "many 2", (2560, 6912), 128, 2),
    Case("196 rows, 2304 x 256 (a convolution's)", "convolution", (2304, 256), 196, 1),
)


@dataclass(frozen=True)
class Row:
    """Microseconds of one product: the median and the least of all runs. ratio, least_ratio: the same of the best
    float32, over these; gbytes_per_second: weights as they are packed. off: of the largest, against the exact answer of
    one product."""

    case: str
    kind: str
    contestant: str
    microseconds: float
    least: float
    runs: int
    ratio: float
    least_ratio: float
    gbytes_per_second: float
    of_read: float
    off: float
    setting: str


def off_by(contestant: Contestant, chain: Chain, x: np.ndarray, threads: int = 1) -> float:
    """The largest difference from the exact answer, as a share of the largest answer."""
    runner = contestant.make(chain, threads, [len(x)])
    runner.feed(x)
    expected = chain.answer(x, contestant.kept)
    return float(np.abs(runner() - expected).max() / np.abs(expected).max())


def extremes(contestants: Sequence[Contestant], k: int = 4096, n: int = 256) -> dict[str, float]:
    """How far each is off where all weights and all activations are the largest: sums as large as they can be."""
    return {c.name: off_by(c, Chain((k, n), 1, c.binary, ones=True), np.ones((1, k), np.float32)) for c in contestants}


def check(contestant: Contestant, case: Case) -> float:
    """``off_by`` of one product. SystemExit where it is beyond what the contestant's kind of arithmetic explains."""
    x = activations(case.m, case.widths[0])
    off = off_by(contestant, Chain(case.widths, 1, contestant.binary), x)
    if not off <= contestant.tolerance:
        raise SystemExit(f"{contestant.name}, {case.name}: off by {off:.2g} of the largest")
    return off


def check_chain(name: str, got: np.ndarray, expected: np.ndarray) -> None:
    a, b = got.astype(np.float64).ravel(), expected.ravel()
    alike = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    if not alike >= LIKE:
        raise SystemExit(f"{name}: the chain's answer has a cosine of {alike:.3f} with the exact one")


def measure(
    cases: Sequence[Case], contestants: Sequence[Contestant], seconds: float, *, streamed: int = STREAMED,
    threads: int = 1, say: Callable[[str], None] = print,
) -> list[Row]:  # fmt: skip
    """The cases, which share widths and layers: chains are made once, and fed another number of rows for each case."""
    read, rows = reader(READ), []
    made = _made(cases, contestants, streamed, threads, say)
    for case in cases:
        x, off, runs = activations(case.m, case.widths[0]), {}, {}
        answers: dict[tuple[Chain, str], np.ndarray] = {}
        for name, (c, chain, runner) in made.items():
            if c.only and case.kind not in c.only:
                continue
            off[name] = check(c, case)
            runner.feed(x)
            if (chain, c.kept) not in answers:
                answers[chain, c.kept] = chain.answer(x, c.kept, np.float32)
            check_chain(name, runner(), answers[chain, c.kept])
            runs[name] = runner
        say(f"{case.name}: answers are right, timing")
        takers = {**{name: single(run) for name, run in runs.items()}, "": single(read)}
        taken = in_turn(takers, seconds, burst=BURST, pause=PAUSE_S)
        rate = READ / statistics.median(taken.pop("").times)
        times = {n: [t / made[n][1].layers * 1e6 for t in found.times] for n, found in taken.items()}
        best, best_least = (min(of(times[n]) for n in (NUMPY, ORT)) for of in (statistics.median, min))
        for name, each in times.items():
            median, runner = statistics.median(each), runs[name]
            speed = runner.weight_bytes / made[name][1].layers / median * 1e6
            rows.append(Row(
                case.name, case.kind, name, median, min(each), len(each), best / median, best_least / min(each),
                speed / 1e9, speed / rate, off[name], str(runner.setting) if isinstance(runner, OrtBits) else "",
            ))  # fmt: skip
    return rows


def _made(
    cases: Sequence[Case], contestants: Sequence[Contestant], streamed: int, threads: int, say: Callable[[str], None]
) -> dict[str, tuple[Contestant, Chain, Runner]]:
    """Those that take part in one of the cases, with their chains."""
    first, found = cases[0], {}
    for c in contestants:
        if c.only and not any(case.kind in c.only for case in cases):
            continue
        if first.layers:
            chain = Chain(first.widths, first.layers, c.binary)
        else:
            chain = long_chain(first.widths, c.bits, streamed, c.binary)
        found[c.name] = c, chain, c.make(chain, threads, [case.m for case in cases])
        say(f"{c.name}, {chain.layers} products through {' and '.join(map(str, first.widths))}")
    return found


def stages(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases by the chains that they need."""
    found: dict[tuple[tuple[int, ...], int], list[Case]] = {}
    for case in cases:
        found.setdefault((case.widths, case.layers), []).append(case)
    return list(found.values())
