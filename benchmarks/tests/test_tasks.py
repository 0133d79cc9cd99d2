"""Task scores tell the same answer from another one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tasks import decisions, needed_score, parse_task, task_score

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((2, 30, 12)).astype(np.float32)
SECONDS = np.arange(24000) / 24000
TUNE = np.concatenate([np.sin(2 * np.pi * pitch * SECONDS) for pitch in (220, 440, 330)])
OTHER = np.concatenate([np.sin(2 * np.pi * pitch * SECONDS) for pitch in (2200, 150, 1700)])


def test_argmax() -> None:
    nudged = LOGITS + 1e-6 * RNG.standard_normal(LOGITS.shape).astype(np.float32)
    assert task_score("argmax", {"y": LOGITS}, {"y": nudged}) == 1.0
    assert task_score("argmax", {"y": LOGITS}, {"y": LOGITS[:, ::-1]}) < 0.5
    assert task_score("argmax", {"y": LOGITS}, {"y": LOGITS[:1]}) == 0.0
    assert task_score("argmax", {"y": LOGITS}, {"y": np.full_like(LOGITS, np.nan)}) == 0.0
    assert task_score("argmax", {"y": LOGITS}, {}) == 0.0


def test_named_outputs_and_the_lowest_part() -> None:
    expected = {"presence": LOGITS[..., 0], "value": LOGITS}
    task = "sign:presence,argmax:value"
    assert task_score(task, expected, expected) == 1.0
    assert task_score(task, expected, {**expected, "presence": -LOGITS[..., 0]}) == 0.0
    assert decisions(task, expected) == 60


def test_speech_likeness() -> None:
    shifted = TUNE * 0.999 + 1e-3 * RNG.standard_normal(len(TUNE))
    assert task_score("speech", {"y": TUNE}, {"y": shifted}) > 0.95
    assert task_score("speech", {"y": TUNE}, {"y": TUNE[:-600]}) > 0.9
    assert task_score("speech", {"y": TUNE}, {"y": OTHER}) < 0.7
    assert task_score("speech", {"y": TUNE}, {"y": TUNE[:20000]}) == 0.0
    assert task_score("speech", {"y": TUNE}, {"y": np.zeros_like(TUNE)}) == 0.0


def test_needed_score_follows_the_noise_down_to_a_floor() -> None:
    assert needed_score("argmax", 1.0, 1000) == pytest.approx(0.98)
    assert needed_score("argmax", 0.97, 1000) == pytest.approx(0.95)
    assert needed_score("argmax", 1.0, 10) == pytest.approx(0.9)
    assert needed_score("argmax", 0.1, 1000) == 0.8
    assert needed_score("speech", 0.996, 0) == pytest.approx(0.946)


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="vibes"):
        parse_task("vibes:y")
