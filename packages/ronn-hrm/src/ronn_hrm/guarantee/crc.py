"""Conformal risk control: the risk is at most alpha on average over deployments (arXiv 2208.02814).

Weaker than ``ucb``: single deployments lie above alpha nearly as often as below.
"""

from __future__ import annotations

import numpy as np

from ronn_hrm.guarantee.ranked import Ranked, Threshold, nothing
from ronn_hrm.guarantee.settings import Guarantee


def find(records: Ranked, guarantee: Guarantee) -> Threshold:
    """The lowest threshold at which (sum of losses + 1) / (n + 1) is at most alpha."""
    rising = (np.cumsum(records.losses) + 1.0) / (records.n + 1)
    count = records.whole(int(np.searchsorted(rising, guarantee.alpha, side="right")))
    if count == 0:
        first = int(records.ends[0])
        return nothing(
            records.n,
            f"the expected risk of answering the surest {first} of {records.n} records is bounded by "
            f"{rising[first - 1]:.3g}, which is above alpha={guarantee.alpha:g}",
        )
    lam, wrong = float(records.scores[count - 1]), float(records.losses[:count].sum())
    return Threshold(lam, records.n, wrong, count / records.n, float(rising[count - 1]))
