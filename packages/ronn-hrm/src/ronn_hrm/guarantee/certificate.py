"""Certificates: what was found, of what, and what has to hold for it."""

from __future__ import annotations

from typing import Any

from ronn.records import dataclass

ASSUMPTIONS = (
    "A1: calibration records and the next requests are exchangeable until the next alarm",
    "A2: calibration records had no part in the training of either model, the scorer or the memory",
    "A3: the expensive model answers the same input the same way",
    "A4: models, options and versions are those of the fingerprints",
    "A5: delta holds for this certificate; for all that are ever made, use kind='anytime'",
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """That requests with a score of ``lam`` or more may be answered by the cheap model.

    kind, alpha, delta: as in ``Guarantee``. n: calibration records. wrong: the sum of losses of those at or above lam.
    share: of records at or above lam. bound: the upper bound on the risk that was found (at most alpha). since: seconds
    since 1970. epoch: counts the alarms before it. scorer: its kind. fingerprints: as in ``State``.
    """

    kind: str
    alpha: float
    delta: float
    lam: float
    n: int
    wrong: float
    share: float
    bound: float
    since: float
    epoch: int
    scorer: str
    task: dict[str, Any]
    fingerprints: dict[str, str]
    assumptions: tuple[str, ...] = ASSUMPTIONS
