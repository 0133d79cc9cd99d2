"""Thresholds that hold at all times: with probability 1 - delta, no certificate that a state ever gets is wrong.

Records of one state come one by one, and a threshold may be taken after each of them, as often as one likes. For each
threshold, bets are made on every record against "its risk is alpha or more"; the wealth reaches 1 / delta ever with
probability delta at most (Ville). Bets are fixed beforehand, so that wealth rises with the threshold for every sequence
of records: only the threshold at which the risk crosses alpha can fool, and the price is paid once for all thresholds
and all times (cf. arXiv 2406.10490). A new state has scores of its own, hence bets of its own: ``spend`` divides delta
among states.
"""

from __future__ import annotations

import math

from ronn_hrm.guarantee import ucb
from ronn_hrm.guarantee.ranked import Ranked, Threshold
from ronn_hrm.guarantee.settings import Guarantee


def find(records: Ranked, guarantee: Guarantee) -> Threshold:
    """The lowest threshold against which the bets have made 1 / delta of 1; ``records``: all since the state began."""
    return ucb.find(records, guarantee)


def spend(delta: float, number: int) -> float:
    """The part of delta for the certificate (or state) of this number, from 1 on: 6 delta / (pi number)^2."""
    return 6.0 * delta / (math.pi * number) ** 2
