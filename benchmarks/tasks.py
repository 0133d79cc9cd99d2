"""Task-level comparison, for int8 models whose numbers move a lot when an input moves by one part in a million.

A task is `metric` or `metric:output`, several joined by commas. A score is 1 for "the same answer"; what a runtime
has to reach is what ONNX Runtime reaches against itself when inputs and weights are nudged, less a little slack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def argmax_agreement(expected: np.ndarray, actual: np.ndarray) -> float:
    """Share of positions with the same most likely class; classes lie on the last axis."""
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return 0.0
    return float((expected.argmax(-1) == actual.argmax(-1)).mean())


def sign_agreement(expected: np.ndarray, actual: np.ndarray) -> float:
    """Share of positions with the same yes or no (logit above 0)."""
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return 0.0
    return float(((expected > 0) == (actual > 0)).mean())


def waveform_correlation(expected: np.ndarray, actual: np.ndarray) -> float:
    """Pearson correlation of two signals of the same length, 0 when it is negative or undefined."""
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return 0.0
    left, right = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
    if left.std() == 0 or right.std() == 0:
        return 1.0 if np.array_equal(left, right) else 0.0
    return max(0.0, float(np.corrcoef(left, right)[0, 1]))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "argmax": argmax_agreement,
    "sign": sign_agreement,
    "waveform": waveform_correlation,
}
FLOOR = {"argmax": 0.85, "sign": 0.85, "waveform": 0.8}
SLACK = {"argmax": 0.02, "sign": 0.02, "waveform": 0.05}


def parse_task(task: str) -> list[tuple[str, str | None]]:
    """`sign:presence,argmax:value` -> [("sign", "presence"), ("argmax", "value")]; raises ValueError."""
    parts = []
    for part in task.split(","):
        metric, _, output = part.partition(":")
        if metric not in METRICS:
            raise ValueError(f"unknown task metric {metric!r}")
        parts.append((metric, output if output else None))
    return parts


def task_score(task: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> float:
    """The lowest score of the task's parts; a part that names no output applies to all of them."""
    scores = []
    for metric, output in parse_task(task):
        for name in [output] if output is not None else list(expected):
            missing = name not in actual or not isinstance(actual[name], np.ndarray)
            scores.append(0.0 if missing else METRICS[metric](expected[name], actual[name]))
    return min(scores)


def needed_score(task: str, noise: float, positions: int) -> float:
    """What counts as the same answer, given ONNX Runtime's score against itself.

    At few positions one differing answer weighs more than the slack: one is always let through, above the floor.
    """
    metrics = [metric for metric, _ in parse_task(task)]
    slack = max(SLACK[metric] for metric in metrics)
    if "waveform" not in metrics and positions > 0:
        slack = max(slack, 1.0 / positions)
    return max(max(FLOOR[metric] for metric in metrics), min(1.0, noise) - slack - 1e-9)
