"""Contestants of the benchmark of four bits give the answers of the same weights, and its table names them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import nibbles


def test_contestants_agree() -> None:
    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    found = nibbles.contestants(1, 64, 32, x)
    assert set(found) == set(nibbles.LIKE)
    nibbles.check(found, 64, 32, x)
    found[nibbles.CPU] = lambda: np.zeros((3, 64), np.float32)
    with pytest.raises(SystemExit, match="off by 1"):
        nibbles.check(found, 64, 32, x)


def test_a_case_gives_a_row_a_contestant() -> None:
    rows = nibbles.measure("small", 2, 2, 64, 32, 0.05)
    assert {r.contestant for r in rows} == set(nibbles.LIKE)
    assert all(0 < r.least <= r.microseconds for r in rows)
    assert all(r.contestant in nibbles.table(rows) for r in rows)
