"""How soon audits tell that the risk has risen, beside ADWIN: `python -m benchmarks.hrm.alarms`.

Each run is `--before` audits at a third of alpha, then up to 3,000 at the new risk; a delay is counted in audits. Runs
with an alarm before the change are left out of delays; false alarms have lines of their own. ADWIN compares with what
was, and needs a long past for it; the audit alarm compares with alpha.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from ronn_hrm.drift.audit import AuditDetector

ALPHA, RUN_LENGTH = 0.01, 2000.0
AFTER, LONG = 3000, 5000
RISKS = (0.12, 0.06, 0.03, 0.02)

Update = Callable[[float], bool]


def ours() -> Update:
    return AuditDetector(ALPHA, RUN_LENGTH).update


def adwin() -> Update:
    """River's, at its usual confidence; a change to less is no alarm."""
    from river.drift import ADWIN

    detector = ADWIN(delta=0.002)

    def update(loss: float) -> bool:
        before = detector.estimation
        detector.update(loss)
        return bool(detector.drift_detected) and detector.estimation > before

    return update


def first(update: Update, losses: np.ndarray) -> int | None:
    """Audits up to the alarm; None without one."""
    return next((i for i, loss in enumerate(losses.tolist(), 1) if update(loss)), None)


def delays(make: Callable[[], Update], risk: float, runs: int, past: int) -> tuple[float, float]:
    """Median delay (infinite where half of the runs have none), and the share of runs without an alarm."""
    rng, found = np.random.default_rng(0), []
    for _ in range(runs):
        update = make()
        before, after = rng.random(past) < ALPHA / 3, rng.random(AFTER) < risk
        if first(update, before.astype(float)) is None:
            found.append(first(update, after.astype(float)))
    missed = np.array([np.inf if n is None else n for n in found])
    return float(np.median(missed)), float(np.isinf(missed).mean())


def false(make: Callable[[], Update], risk: float, runs: int) -> float:
    """The share of runs with an alarm in 5,000 audits at an unchanged risk."""
    rng = np.random.default_rng(1)
    return float(np.mean([first(make(), (rng.random(LONG) < risk).astype(float)) is not None for _ in range(runs)]))


def cost(make: Callable[[], Update]) -> float:
    """Microseconds an audit, the least of 50 times 1,000."""
    losses = (np.random.default_rng(2).random(1000) < ALPHA / 3).astype(float).tolist()
    best = np.inf
    for _ in range(50):
        update, began = make(), time.perf_counter()
        for loss in losses:
            update(loss)
        best = min(best, time.perf_counter() - began)
    return float(best * 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--before", type=int, default=1000)
    asked = parser.parse_args()
    runs = asked.runs
    print(
        f"alpha {ALPHA:.0%}, run length {RUN_LENGTH:g} audits, {runs} runs, {asked.before:,} audits before the change"
    )
    print(f"{'':34}{'audit alarm':>16}{'ADWIN':>16}")
    makes = (ours, adwin)
    for risk in RISKS:
        cells = [delays(make, risk, runs, asked.before) for make in makes]
        shown = "".join(f"{f'{median:.0f} ({none:.0%})':>16}" for median, none in cells)
        print(f"{f'risk {risk:.0%}: audits (without alarm)':34}{shown}")
    for risk in (ALPHA * 0.3, ALPHA):
        shown = "".join(f"{false(make, risk, runs):>16.1%}" for make in makes)
        print(f"{f'risk {risk:.1%}: alarms in {LONG:,}':34}{shown}")
    print(f"{'us an audit':34}" + "".join(f"{cost(make):>16.2f}" for make in makes))


if __name__ == "__main__":
    main()
