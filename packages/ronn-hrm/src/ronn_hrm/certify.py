"""Certifying: from episodes to records of one state, and from these to a certified state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ronn.records import dataclass, replace
from ronn_hrm.fast_path import losses_of
from ronn_hrm.guarantee.certificate import Certificate

if TYPE_CHECKING:
    from ronn_hrm.assess.assessor import Assessor
    from ronn_hrm.contracts import Policy
    from ronn_hrm.fast_path import FastPath
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.state import State


GIVEN = "full:calibration"
"""The path of calibration records that were given, not drawn from traffic."""


@dataclass(frozen=True, slots=True)
class Records:
    """Episodes as one state sees them: features float64 [N, F], losses float64 [N] between what it answers and what the
    expensive model said; answers of the N episodes, which are in ``episodes``."""

    features: np.ndarray
    losses: np.ndarray
    answers: list[np.ndarray]
    episodes: Episodes

    def __len__(self) -> int:
        return len(self.losses)

    def where(self, mask: np.ndarray) -> Records:
        """Those for which ``mask`` (bool [N]) holds."""
        answers = [a for a, kept in zip(self.answers, mask, strict=True) if kept]
        return Records(self.features[mask], self.losses[mask], answers, self.episodes.where(mask))


def records_of(path: FastPath, state: State, assessor: Assessor, episodes: Episodes) -> Records:
    """Records of those episodes that the expensive model answered, and that the state can answer from what was kept."""
    episodes = episodes.where(np.array([f is not None for f in episodes.full], bool))
    answers, known = path.again(episodes)
    episodes = episodes.where(known)
    losses = losses_of(assessor.task, answers, episodes.full)
    features = assessor.many(answers, episodes.embedding, state.neighbours, episodes.inputs)
    _of_inputs(features, assessor, episodes)
    return Records(features, losses, answers, episodes)


def _of_inputs(features: np.ndarray, assessor: Assessor, episodes: Episodes) -> None:
    """Features of the inputs themselves, where these were not kept: as they were when the request came. No state
    changes them."""
    columns = assessor.of_inputs
    if not columns or episodes.features.shape[1] != len(assessor.names):
        return
    rows = [i for i, inputs in enumerate(episodes.inputs) if inputs is None]
    at = np.ix_(rows, columns)
    features[at] = episodes.features[at]


def believable(records: Records) -> tuple[Records, str]:
    """Calibration records without those that were given, where these agree implausibly more than drawn ones; and why
    they were left out, or empty."""
    from ronn_hrm.guarantee.plausible import implausible

    given = np.array([path == GIVEN for path in records.episodes.path], bool)
    reason = implausible(records.losses[given], records.losses[~given])
    return (records.where(~given), reason) if reason else (records, "")


def certified(
    state: State, records: Records, guarantee: Guarantee, policy: Policy, assessor: Assessor, *, epoch: int, at: float
) -> tuple[State, str]:
    """The state with the threshold that calibration records certify for its scorer; and why, where there is none.

    at: seconds since 1970. The number of the state goes up by one.
    """
    from ronn_hrm.guarantee.kinds import calibrate, risk_at

    scores = state.scorer.score_many(records.features)
    found = calibrate(scores, records.losses, guarantee)
    lam = policy.threshold(scores[~np.isnan(scores)], found.lam)
    certificate = None
    n, wrong, share, bound = found.n, found.wrong, found.share, found.bound
    if lam < found.lam:  # a policy that goes further than the guarantee: tell the risk that this has
        n = len(records)
        wrong, share, bound = risk_at(scores, records.losses, lam, guarantee)
    if math.isfinite(lam):
        certificate = Certificate(
            kind=guarantee.kind, alpha=guarantee.alpha, delta=guarantee.delta, lam=lam, n=n, wrong=wrong,
            share=share, bound=bound, since=at, epoch=epoch, scorer=state.scorer.kind, task=assessor.task.as_data(),
            fingerprints=state.fingerprints,
        )  # fmt: skip
    made = replace(state, number=state.number + 1, lam=lam, certificate=certificate, id="")
    return made, "" if certificate is not None else found.reason
