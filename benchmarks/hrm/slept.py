"""What consolidation buys (G4): digits turned by 25 degrees behind an alarm, 2,000 of them answered by System 2.

`python -m benchmarks.hrm.slept` prints the table. Each split draws anew which turned digits teach (2,000), fit (500),
calibrate (1,000) and judge (330); shares and risks are of 5,000 others. 5,000 upright digits were remembered before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

import ronn
from benchmarks.hrm import digits, drive
from ronn_hrm.assess.assessor import Assessor
from ronn_hrm.certify import certified, records_of
from ronn_hrm.fast_path import CheapModel, FastPath
from ronn_hrm.guarantee.settings import Guarantee
from ronn_hrm.memory.episode import Episode, Episodes
from ronn_hrm.policies import Cascade
from ronn_hrm.scorers import MarginScorer
from ronn_hrm.sleep import Distil, Sleep, consolidate
from ronn_hrm.sleep.refresh import remembering, scoring
from ronn_hrm.state import State
from ronn_hrm.task import Classification

ROLES = (("train", 2000), ("fit", 500), ("calibrate", 1000), ("gate", 330), ("", 5000))
OLD_HELD_OUT = 2000
TASK = Classification("scores")
ASSESSOR = Assessor(TASK)
STUDENT = Distil(source="x")


@dataclass(frozen=True)
class Row:
    """One state on one split. new, old: agreement with System 2 on turned and on upright digits; share: certified at
    1 % and at 2 %, as found on other digits; risk: what it came to there, at 1 %; promoted; seconds that it took."""

    name: str
    new: float
    old: float
    share: tuple[float, float]
    risk: float
    promoted: bool
    seconds: float


@cache
def cheap() -> CheapModel:
    session = ronn.Session(digits.fast_model(), providers=digits.providers("fast"), options={"threads": 1})
    return CheapModel(session, TASK, drive.embedding_of_digits())


@cache
def _answered(turned: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digits of the population, and what both networks say."""
    found = digits.digits().x
    x = digits.rotated(found) if turned else found
    return x, digits.scores("fast", x), digits.scores("full", x)


@cache
def _remembered() -> tuple[Episode, ...]:
    """The digits that both networks learned from, and upright ones that were held out before the alarm."""
    x = digits.digits().train_x
    taught = _episodes(x, digits.scores("fast", x), digits.scores("full", x), ["train"] * len(x), 0, 1)
    x, fast, full = (part[-OLD_HELD_OUT:] for part in _answered(False))
    return (*taught, *_episodes(x, fast, full, ["calibrate"] * OLD_HELD_OUT, 0, len(taught) + 1))


def _episodes(
    x: np.ndarray, fast: np.ndarray, full: np.ndarray, roles: Sequence[str], epoch: int, first: int
) -> list[Episode]:
    made = []
    for row, role in enumerate(roles):
        feeds = {"x": x[row : row + 1]}
        number = first + row
        made.append(
            Episode(
                request=number, digest=number.to_bytes(16, "little"), at=float(number), role=role, path="full:guard",
                features=np.zeros(0, np.float32), epoch=epoch, embedding=cheap().embedding(feeds, None),
                fast=fast[row : row + 1], full=full[row : row + 1], inputs=feeds,
            )
        )  # fmt: skip
    return made


def split(seed: int) -> Episodes:
    """Episodes of one split, those of no role (the others to measure on) last."""
    x, fast, full = _answered(True)
    rows = np.random.default_rng(seed).permutation(len(x))[: sum(count for _, count in ROLES)]
    roles = [role for role, count in ROLES for _ in range(count)]
    old = _remembered()
    return Episodes.of([*old, *_episodes(x[rows], fast[rows], full[rows], roles, 1, len(old) + 1)])


def rows_of(seed: int) -> list[Row]:
    """All states on one split."""
    episodes = split(seed)
    bare = State(
        number=seed, names=ASSESSOR.names, scorer=MarginScorer.of(ASSESSOR.names), lam=float("inf"), certificate=None,
        neighbours=None, correction=None, student=None, fingerprints={},
    )  # fmt: skip
    before = remembering(bare, episodes.where(episodes.epoch == 0), cheap(), Sleep(), 0)
    found = []
    for name, state in (("no memory", bare), ("as before the change", before)):
        fit = _records(state, episodes.where((episodes.epoch == 1) & _is(episodes, "fit")))
        state = scoring(state, fit, 0.01)
        found.append(_measured(name, state, episodes, False, 0.0))
    state = scoring(before, _records(before, episodes.where((episodes.epoch == 1) & _is(episodes, "fit"))), 0.01)
    for name, strategy, replay in (
        ("new episodes in memory", "memory", True), ("adapter", "adapter", True),
        ("adapter, no replay", "adapter", False), ("ternary student", "student", True),
        ("ternary student, no replay", "student", False), ("auto", "auto", True),
    ):  # fmt: skip
        began = time.perf_counter()
        outcome = consolidate(
            state, episodes, cheap=cheap(), assessor=ASSESSOR, guarantee=Guarantee(alpha=0.01), policy=Cascade(),
            sleep=Sleep(replay=replay, student=STUDENT, forget=0.005 if replay else 1.0), epoch=1, at=0.0,
            strategy=strategy,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        found.append(_measured(name, outcome.state, episodes, outcome.report.promoted, seconds))
    return found


def _is(episodes: Episodes, role: str) -> np.ndarray:
    return np.array([r == role for r in episodes.role], bool)


def _records(state: State, episodes: Episodes):  # type: ignore[no-untyped-def]
    return records_of(FastPath(cheap(), state), state, ASSESSOR, episodes)


def _measured(name: str, state: State, episodes: Episodes, promoted: bool, seconds: float) -> Row:
    new, old = episodes.epoch == 1, episodes.epoch == 0
    calibrate = _records(state, episodes.where(new & _is(episodes, "calibrate")))
    others, before = (
        _records(state, episodes.where(new & _is(episodes, ""))),
        _records(state, episodes.where(old & _is(episodes, "calibrate"))),
    )
    scores, shares, risk = state.scorer.score_many(others.features), [], 0.0
    for alpha in (0.01, 0.02):
        made, _ = certified(state, calibrate, Guarantee(alpha=alpha), Cascade(), ASSESSOR, epoch=1, at=0.0)
        served = scores >= made.lam
        shares.append(float(served.mean()))
        risk = float((others.losses * served).mean()) if alpha == 0.01 else risk
    return Row(
        name, 1 - others.losses.mean(), 1 - before.losses.mean(), (shares[0], shares[1]), risk, promoted, seconds
    )


def measure(seeds: Sequence[int]) -> list[list[Row]]:
    """Rows by split."""
    return [rows_of(seed) for seed in seeds]


def table(found: list[list[Row]]) -> str:
    lines = [
        "| state | agreement, turned / upright | certified share at 1 % / 2 % | risk at 1 % | promoted | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rows in zip(*found, strict=True):

        def mean(of, rows=rows):  # type: ignore[no-untyped-def]
            return float(np.mean([of(r) for r in rows]))

        lines.append(
            f"| {rows[0].name} | {mean(lambda r: r.new):.3f} / {mean(lambda r: r.old):.3f} | "
            f"{mean(lambda r: r.share[0]):.3f} / {mean(lambda r: r.share[1]):.3f} | "
            f"{100 * mean(lambda r: r.risk):.2f} % | {sum(r.promoted for r in rows)} of {len(rows)} | "
            f"{min(r.seconds for r in rows):.2f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hrm.slept", description=__doc__)
    parser.add_argument("--splits", type=int, default=5)
    print(table(measure(range(parser.parse_args(arguments).splits))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
