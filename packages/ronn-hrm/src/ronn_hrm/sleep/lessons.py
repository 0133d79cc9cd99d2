"""Lessons: which episodes are learnt from, with those of before the last alarm replayed among them."""

from __future__ import annotations

import numpy as np

from ronn.records import dataclass
from ronn_hrm.memory.episode import Episodes

_HELD_OUT = ("fit", "calibrate", "gate")


@dataclass(frozen=True, slots=True)
class Lessons:
    """Episodes of the role ``train`` to learn from, oldest first, and float32 weights with a mean of 1."""

    episodes: Episodes
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.episodes)

    def where(self, mask: np.ndarray) -> Lessons:
        weights = self.weights[mask]
        return Lessons(
            self.episodes.where(mask), weights / max(float(weights.mean()), 1e-9) if len(weights) else weights
        )


def lessons_of(episodes: Episodes, epoch: int, most: int, *, replay: bool = True, seed: int = 0) -> Lessons:
    """At most ``most`` lessons of episodes (all roles, oldest first): the newest of each input, of those that the
    expensive model answered; none whose input is among records that fit, certify or judge.

    The newest of ``epoch`` get at least half of the room; with ``replay``, a sample of those of before (a reservoir of
    equal chances) gets the rest.
    """
    apart = {d for d, role in zip(episodes.digest, episodes.role, strict=True) if role in _HELD_OUT}
    newest = {
        digest: row for row, digest in enumerate(episodes.digest)
        if episodes.role[row] == "train" and digest not in apart and episodes.full[row] is not None
    }  # fmt: skip
    rows = np.array(sorted(newest.values()), np.int64)
    now = rows[episodes.epoch[rows] == epoch]
    before = rows[episodes.epoch[rows] != epoch] if replay else rows[:0]
    room = max(most - len(before), most // 2)
    now = now[-room:]
    if len(before) > most - len(now):
        random = np.random.default_rng(seed)
        before = np.sort(random.permutation(before)[: most - len(now)])
    mask = np.zeros(len(episodes), bool)
    mask[now] = mask[before] = True
    kept = episodes.where(mask)
    return Lessons(kept, np.ones(len(kept), np.float32))


def as_rows(found: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Answers of one row that are alike, as rows float32 [M, C], and bool [N]: which these are."""
    widths = [a.shape[1] if a is not None and a.ndim == 2 and len(a) == 1 else 0 for a in found]
    width = max(set(widths), key=widths.count) if widths else 0
    mask = np.array([w == width and w > 0 for w in widths], bool)
    rows = [a[0] for a, kept in zip(found, mask, strict=True) if kept and a is not None]
    made = np.array(rows, np.float32) if rows else np.zeros((0, max(width, 1)), np.float32)
    finite = np.isfinite(made).all(axis=1)
    mask[np.flatnonzero(mask)[~finite]] = False
    return made[finite], mask
