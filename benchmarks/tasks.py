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


FRAMES, WINDOW, HOP, BANDS = 64, 512, 128, 32
LEAST_LENGTH_RATIO = 0.85


def loudness_picture(signal: np.ndarray) -> np.ndarray:
    """Log spectrum over time, [FRAMES, BANDS], whatever the length of the signal (at least WINDOW samples)."""
    windows = np.lib.stride_tricks.sliding_window_view(signal.astype(np.float64).ravel(), WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(WINDOW)))[:, : WINDOW // 2]
    loudness = np.log(spectrum + 1e-2 * np.abs(signal).max() + 1e-12)
    bands = loudness.reshape(len(loudness), BANDS, -1).mean(2)
    at = np.linspace(0, len(bands) - 1, FRAMES)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, len(bands) - 1), (at - low)[:, None]
    return np.asarray(bands[low] * (1 - share) + bands[high] * share)


def speech_likeness(expected: np.ndarray, actual: np.ndarray) -> float:
    """Correlation of two recordings' loudness pictures, 0 when one is much longer than the other.

    The same sentence nudged scores above 0.99, another sentence or voice at most 0.75. The samples themselves are no
    measure: a nudged input moves every phase.
    """
    if expected.ndim != actual.ndim or min(expected.size, actual.size) < WINDOW or not np.isfinite(actual).all():
        return 0.0
    if min(expected.size, actual.size) < LEAST_LENGTH_RATIO * max(expected.size, actual.size):
        return 0.0
    left, right = loudness_picture(expected).ravel(), loudness_picture(actual).ravel()
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return max(0.0, float(np.corrcoef(left, right)[0, 1]))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "argmax": argmax_agreement,
    "sign": sign_agreement,
    "speech": speech_likeness,
}
FLOOR = {"argmax": 0.8, "sign": 0.8, "speech": 0.5}
SLACK = {"argmax": 0.02, "sign": 0.02, "speech": 0.05}


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


def decisions(task: str, expected: Mapping[str, Any]) -> int:
    """How many decisions the smallest part of the task takes (0: it is no matter of decisions)."""
    counts = []
    for metric, output in parse_task(task):
        for name in [output] if output is not None else list(expected):
            value = expected[name]
            counts.append({"argmax": value.size // value.shape[-1], "sign": value.size}.get(metric, 0))
    return int(min(counts))


def needed_score(task: str, noise: float, count: int) -> float:
    """What counts as the same answer, given ONNX Runtime's score against itself and the number of decisions.

    At few decisions one that differs weighs more than the slack: one is always let through, above the floor.
    """
    metrics = [metric for metric, _ in parse_task(task)]
    slack = max(SLACK[metric] for metric in metrics)
    if count > 0:
        slack = max(slack, 1.0 / count)
    return max(max(FLOOR[metric] for metric in metrics), min(1.0, noise) - slack - 1e-9)
