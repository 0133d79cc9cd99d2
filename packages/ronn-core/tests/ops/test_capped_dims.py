"""Symbolic broadcasting of capped dims, and reshape targets that copy dims although zeros are allowed."""

from __future__ import annotations

import numpy as np
import pytest

from ronn.ir.dims import dim_broadcast, dim_min, sym

N, M = sym("N"), sym("M")


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        (dim_min(512, N), N, N),
        (N, dim_min(512, N), N),
        (dim_min(1, N), N, None),
        (dim_min(512, M), N, None),
        (N, M, None),
        (N + 1, N, None),
    ],
)
def test_a_capped_dim_beside_the_whole_one(a, b, want):
    assert dim_broadcast(a, b) == want


@pytest.mark.parametrize("n", [0, 1, 2, 511, 512])
def test_what_numpy_says(n):
    assert np.broadcast_shapes((min(512, n),), (n,)) == (n,)
