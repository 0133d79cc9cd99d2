"""What is made anew without changing the cheap model: what is remembered, and how requests are scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ronn.records import replace
from ronn_hrm.scorers import choose
from ronn_hrm.sleep.candidates import refreshed
from ronn_hrm.sleep.lessons import lessons_of

if TYPE_CHECKING:
    from ronn_hrm.certify import Records
    from ronn_hrm.contracts import Scorer
    from ronn_hrm.fast_path import CheapModel
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.sleep.settings import Sleep
    from ronn_hrm.state import State


def remembering(state: State, episodes: Episodes, cheap: CheapModel, sleep: Sleep, epoch: int) -> State:
    """The state with a memory of episodes (all roles, oldest first)."""
    lessons = lessons_of(episodes, epoch, sleep.rows, replay=sleep.replay, seed=epoch)
    return refreshed(state, lessons, cheap, sleep)


def scoring(state: State, records: Records, alpha: float, fit: Callable[..., Scorer] | None = None) -> State:
    """The state with the scorer that does best on records of the fit role; as it is where there are none. fit: what
    makes it, instead of ``ronn_hrm.scorers.choose``."""
    if not len(records):
        return state
    fit = choose if fit is None else fit
    return replace(state, scorer=fit(records.features, state.names, records.losses, alpha=alpha), id="")
