"""From calibration records to a threshold, for each kind of guarantee."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn_hrm.guarantee import anytime, bounds, crc, selective, ucb
from ronn_hrm.guarantee.ranked import Ranked, Threshold, checked, nothing
from ronn_hrm.guarantee.settings import Guarantee

__all__ = ["Threshold", "calibrate", "least_records", "risk_at"]


def calibrate(scores: Any, losses: Any, guarantee: Guarantee, grid: Any = None) -> Threshold:
    """The threshold from which on the cheap model may answer.

    scores: float64 [N], higher is surer; records with equal scores are answered all or none, one without a score (NaN)
    never is. losses: float64 [N], from 0 to 1, of the cheap model's answer; all N records count, whatever their score.
    grid: for ``selective`` only, scores of *other* records, from which to take the thresholds to test (those on which
    the scorer was fitted will do); without it, the first tenth of the records is spent on that.

    Nothing certified is a ``Threshold`` of infinity with the reason. Raises ``CalibrationError`` for losses outside 0
    to 1 and for shapes that do not fit.
    """
    scores, losses = checked(scores, losses)
    n = len(scores)
    binary = bool(((losses == 0.0) | (losses == 1.0)).all())
    least = least_records(guarantee, binary=binary, placed=grid is not None)
    if n < least:
        delta = "" if guarantee.kind == "crc" else f", delta={guarantee.delta:g}"
        return nothing(n, f"{least} records are needed at alpha={guarantee.alpha:g}{delta}; there are {n}")
    if np.isnan(scores).all():
        return nothing(n, f"none of {n} records has a score")
    if guarantee.kind == "selective":
        return selective.find(scores, losses, guarantee, None if grid is None else np.asarray(grid, np.float64))
    records = Ranked.of(scores, losses)
    if guarantee.kind == "crc":
        return crc.find(records, guarantee)
    return anytime.find(records, guarantee) if guarantee.kind == "anytime" else ucb.find(records, guarantee)


def least_records(guarantee: Guarantee, *, binary: bool = True, placed: bool = False) -> int:
    """With fewer calibration records nothing can be certified, whatever they say.

    binary: all losses are 0 or 1. placed: for ``selective``, other records place the thresholds.
    """
    alpha, delta = guarantee.alpha, guarantee.delta
    if guarantee.kind == "crc":
        n = math.ceil(1.0 / alpha) - 1
        return n if 1.0 / (n + 1) <= alpha else n + 1
    if guarantee.bound_for(binary) == "betting":
        n = bounds.least_bets(alpha, delta)
    else:
        n = math.ceil(math.log(delta) / math.log1p(-alpha))
    if guarantee.kind == "selective" and not placed:
        spent = 0
        while n + spent - selective.placing(n + spent) < n:
            spent += 1
        n += spent
    return n


def risk_at(scores: Any, losses: Any, lam: float, guarantee: Guarantee) -> tuple[float, float, float]:
    """What calibration records say of a threshold that others chose: (wrong, share, bound) as in ``Threshold``.

    The bound is above alpha where ``calibrate`` would not go so low. It holds for one threshold that was chosen without
    looking at the losses.
    """
    scores, losses = checked(scores, losses)
    inside, n = losses[scores >= lam], len(scores)
    if len(inside) == 0:
        return 0.0, 0.0, 0.0
    wrong, share = float(inside.sum()), len(inside) / n
    if guarantee.kind == "crc":
        return wrong, share, min(1.0, (wrong + 1.0) / (n + 1))
    bound = guarantee.bound_for(bool(((losses == 0.0) | (losses == 1.0)).all()))
    over = len(inside) if guarantee.kind == "selective" else n
    return wrong, share, ucb.upper(inside, over, guarantee.delta, bound)
