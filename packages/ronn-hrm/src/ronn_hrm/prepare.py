"""What is learnt without changing the cheap model: what is remembered, and how requests are scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ronn.records import replace

if TYPE_CHECKING:
    from ronn_hrm.certify import Records
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.state import State
    from ronn_hrm.task import Task


def remembered(state: State, episodes: Episodes, task: Task, most: int = 50_000) -> State:
    """The state with a memory of ``train`` episodes to search, the newest of each input; without those whose inputs are
    among records that fit, certify or judge. episodes: of all roles, oldest first."""
    from ronn_hrm.memory.index import neighbours_of

    apart = {d for d, role in zip(episodes.digest, episodes.role, strict=True) if role in ("fit", "calibrate", "gate")}
    newest = {d: i for i, d in enumerate(episodes.digest) if episodes.role[i] == "train" and d not in apart}
    mask = np.zeros(len(episodes), bool)
    mask[sorted(newest.values())[-most:]] = True
    if episodes.embedding is not None:
        mask &= ~np.isnan(episodes.embedding).any(axis=1)
    return replace(state, neighbours=neighbours_of(episodes.where(mask), task), id="")


def scored(state: State, records: Records, alpha: float) -> State:
    """The state with the scorer that does best on ``fit`` records; as it is where there are none."""
    from ronn_hrm.scorers import choose

    if not len(records):
        return state
    return replace(state, scorer=choose(records.features, state.names, records.losses, alpha=alpha), id="")
