"""Sampling kernels: shares agree to the bit at every level of instructions, and nothing is written beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from guarded import Guarded
from levels import library_at

from ronn_codegen.native.library import Library
from ronn_codegen.templates.detection import PIXELS

MODULE = "ronn_codegen.templates.detection"


@pytest.fixture(scope="module", params=["native", "avx2", "baseline"])
def kernels(request: pytest.FixtureRequest) -> Library:
    return library_at(request.param)


def uniform(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).uniform(-2, 2, shape).astype(np.float32)


@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("spatial", [(7,), (5, 4), (3, 1, 4)])
def test_grid_sample(kernels: Library, taps: int, padding: int, spatial: tuple[int, ...]) -> None:
    n, channels, points, rank = 2, 3, 75, len(spatial)
    x, grid, shape = uniform(n, channels, *spatial), uniform(n, points, rank), np.array(spatial)
    results: list[Any] = []
    for workers in (1, 3, 5):
        y = Guarded((n, channels, points), np.float32)
        room = Guarded((workers * (160 + 8 * PIXELS * taps**rank),), np.uint8)
        for worker in range(workers):
            kernels.kernel(MODULE, "grid_sample")(
                x.ctypes.data, grid.ctypes.data, y.address, room.address, shape.ctypes.data, rank, n, channels,
                int(np.prod(spatial)), points, taps, padding, 0, worker=worker, workers=workers,
            )  # fmt: skip
        y.check()
        room.check()
        results.append(y.array)
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()
    assert np.isfinite(results[0]).all() and results[0].any()


@pytest.mark.parametrize("largest", [0, 1])
def test_roi_align(kernels: Library, largest: int) -> None:
    x = uniform(2, 70, 6, 5)
    rois = np.array([[0, 0, 5, 4], [-3, 2, 9, 9], [1, 1, 1, 1]], np.float32)
    batch = np.array([1, 0, 1])
    results: list[Any] = []
    for workers in (1, 4):
        y, status = Guarded((3, 70, 2, 3), np.float32), np.zeros(1, np.int64)
        for worker in range(workers):
            kernels.kernel(MODULE, "roi_align")(
                x.ctypes.data, rois.ctypes.data, batch.ctypes.data, y.address, status.ctypes.data, 1, 2, 70, 6, 5, 3, 2,
                3, 2, 1.0, 1, largest, worker=worker, workers=workers,
            )  # fmt: skip
        y.check()
        assert status[0] == 0
        results.append(y.array)
    assert (results[0] == results[1]).all() and results[0].any()
