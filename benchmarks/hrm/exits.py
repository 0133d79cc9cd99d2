"""G9: what it costs to go on from an early exit, on real models: `python -m benchmarks.hrm.exits`.

The goal: prefix, head and suffix together cost at most 5 % more than the whole model in one session.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

import ronn
from benchmarks.zoo.fetch import model_path
from ronn_hrm.early_exit import EarlyExit

ROUNDS = 60
GOAL = 1.05


@dataclass(frozen=True)
class Case:
    """A model, and the values that it may end at."""

    model: str
    exits: tuple[str, ...]
    shape: tuple[int, ...]


CASES = (
    Case("efficientnet-lite0", ("_blocks.3._bn2", "_blocks.9.add", "_blocks.12.add"), (1, 3, 224, 224)),
    Case("light-resnet50", ("r0", "r76"), (1, 3, 224, 224)),
)


@dataclass(frozen=True)
class Cost:
    """Median milliseconds of whole model, cheap path (prefix and head) and what is left; ``ratio`` is the median over
    rounds of (fast + resume) / whole; ``error`` the largest difference to the whole, of its largest value."""

    model: str
    exit: str
    whole: float
    fast: float
    resume: float
    ratio: float
    error: float


def measure(case: Case, exit: str, rounds: int = ROUNDS) -> Cost:
    """Times the parts in turn, round by round, behind three rounds that do not count."""
    model = ronn.load(model_path(case.model))
    whole = model.create_session()
    early = EarlyExit(model, exit)
    name, output = model.inputs[0].name, model.outputs[0].name
    rng = np.random.default_rng(0)
    samples: list[dict[str, Any]] = [{name: rng.standard_normal(case.shape).astype(np.float32)} for _ in range(4)]
    # The head's numbers do not matter here, its size does: one linear layer on the pooled value, fitted to noise.
    classes = whole.run(samples[0])[output].shape[-1]
    early.set_head(_head(early, output, classes))
    clock = time.perf_counter
    seen: list[tuple[float, float, float]] = []
    for i in range(rounds + 3):
        x = samples[i % len(samples)]
        t0 = clock()
        expected = whole.run(x)
        t1 = clock()
        _, carry = early.fast.begin(x)
        t2 = clock()
        found = early.full.resume(carry)
        t3 = clock()
        if i >= 3:
            seen.append((t1 - t0, t2 - t1, t3 - t2))
    error = float(np.abs(expected[output] - found[output]).max() / np.abs(expected[output]).max())
    early.close()
    whole.close()
    a, b, c = (median(column) * 1e3 for column in zip(*seen, strict=True))
    return Cost(case.model, exit, a, b, c, median((b + c) / a for a, b, c in seen), error)


def _head(early: EarlyExit, output: str, classes: int) -> Any:
    from ronn_hrm.exit_head import fit_head

    shape = [d if isinstance(d, int) else 1 for d in early.prefix.outputs[0].shape or ()]
    rng = np.random.default_rng(0)
    rows = 2 * classes
    seen = [(rng.standard_normal((rows, *shape[1:2], 1, 1)), rng.standard_normal((rows, classes)))]
    seen = [(v.astype(np.float32), o) for v, o in seen]
    return fit_head(early.exits[0], output, seen, "linear", "mean", False, 1.0)


def table(costs: list[Cost]) -> str:
    lines = [
        "| model | exit | whole, ms | prefix and head | suffix | escalated / whole | goal | difference |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    lines += [
        f"| {c.model} | `{c.exit}` | {c.whole:.2f} | {c.fast:.2f} | {c.resume:.2f} | {c.ratio:.3f} | "
        f"{'reached' if c.ratio <= GOAL else 'not reached'} | {c.error:.1g} |"
        for c in costs
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--model", help="one of them only", choices=[c.model for c in CASES])
    options = parser.parse_args(arguments)
    chosen = [c for c in CASES if options.model in (None, c.model)]
    print(table([measure(case, exit, options.rounds) for case in chosen for exit in case.exits]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
