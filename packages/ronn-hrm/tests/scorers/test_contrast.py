"""The feature that tells how much nearer the cheap model's class is than any other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ronn_hrm.assess.groups import Neighbourhood, Seen


def contrast(label: int | None, distances: list[float], labels: list[int]) -> float:
    seen = Seen(None, label, np.array(distances, np.float32), np.array(labels, np.int32), None)
    group = Neighbourhood(k=len(distances))
    return dict(zip(group.names, group.of(seen), strict=True))["contrast"]


def test_it_compares_the_two_nearest_of_each_sort():
    distances = [0.1, 0.2, 0.3, 0.4, 0.9]
    assert contrast(1, distances, [1, 1, 0, 0, 0]) == pytest.approx(math.log(0.72 / 0.32), rel=1e-6)
    assert contrast(0, distances, [1, 1, 0, 0, 0]) == pytest.approx(math.log(0.32 / 0.72), rel=1e-6)


def test_the_farthest_stands_for_those_that_lack():
    assert contrast(1, [0.1, 0.2, 0.5], [1, 1, 1]) == pytest.approx(math.log(1.02 / 0.32), rel=1e-6)
    assert contrast(7, [0.1, 0.2, 0.5], [1, 1, 0]) == pytest.approx(math.log(0.32 / 1.02), rel=1e-6)


def test_without_a_class_there_is_none():
    assert math.isnan(contrast(None, [0.1], [1]))
