"""Sampling operators natively, against the NumPy kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lower_runs import filled, i64, lowered
from native_support import one_node

import ronn

FEW = settings(max_examples=30, deadline=None)
CLOSE = 3e-5  # float32, of values up to 120


def unit(shape: Any, seed: int, reach: float) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-reach, reach, shape).astype(np.float32)


@FEW
@given(
    n=st.integers(1, 2), channels=st.integers(1, 3), spatial=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    points=st.integers(1, 40), mode=st.sampled_from(["nearest", "linear", "cubic"]), seed=st.integers(0, 99),
    padding=st.sampled_from(["zeros", "border", "reflection"]), align=st.integers(0, 1),
)  # fmt: skip
def test_grid_sample(
    n: int, channels: int, spatial: list[int], points: int, mode: str, seed: int, padding: str, align: int
) -> None:
    rank = len(spatial)
    x, grid = unit((n, channels, *spatial), seed, 3), unit((n, points, *[1] * (rank - 1), rank), seed, 1.8)
    grid[0, 0] = np.nan
    grid[0, -1] = 1
    lowered(
        "GridSample", [x, grid], opset=22, within=CLOSE, mode=mode, padding_mode=padding, align_corners=align
    )  # fmt: skip


def test_grid_sample_far_away() -> None:
    x, grid = unit((1, 1, 4, 5), 0, 1), np.array([1e30, -1e30, 3e9, np.inf, -np.inf, 0], np.float32).reshape(1, 3, 1, 2)
    for padding in ("zeros", "border"):
        lowered("GridSample", [x, grid], opset=22, within=CLOSE, padding_mode=padding)


@FEW
@given(
    n=st.integers(1, 3), channels=st.sampled_from([1, 3, 40]), regions=st.integers(1, 4), samples=st.integers(0, 3),
    mode=st.sampled_from(["avg", "max"]), seed=st.integers(0, 99), opset=st.sampled_from([10, 16, 22]),
    half=st.booleans(),
)  # fmt: skip
def test_roi_align(
    n: int, channels: int, regions: int, samples: int, mode: str, seed: int, opset: int, half: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = unit((n, channels, 9, 7), seed, 3)
    start = rng.uniform(-3, 14, (regions, 2))
    rois = np.concatenate([start, start + rng.uniform(0, 12, (regions, 2))], axis=1).astype(np.float32)
    extra = {"coordinate_transformation_mode": "half_pixel" if half else "output_half_pixel"} if opset >= 16 else {}
    lowered(
        "RoiAlign", [x, rois, rng.integers(0, n, regions)], opset=opset, within=CLOSE, mode=mode, output_height=3,
        output_width=2, sampling_ratio=samples, spatial_scale=0.5, **extra,
    )  # fmt: skip


def test_roi_align_of_no_image() -> None:
    feeds = {"x": unit((2, 1, 4, 4), 0, 1), "r": np.array([[0, 0, 3, 3]], np.float32), "b": i64(2)}
    session = ronn.Session(one_node("RoiAlign", feeds), providers=["cpu"])
    with pytest.raises(ronn.RonnError, match="batch index"):
        session.run(feeds)


@pytest.mark.parametrize("align", [0, 1])
def test_affine_grid(align: int) -> None:
    lowered("AffineGrid", [unit((2, 2, 3), 1, 2), i64(2, 3, 5, 1)], fixed=[1], align_corners=align, within=CLOSE)
    lowered("AffineGrid", [unit((2, 3, 4), 1, 2), i64(2, 1, 4, 5, 6)], fixed=[1], align_corners=align, within=CLOSE)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_col2im(dtype: Any) -> None:
    lowered("Col2Im", [filled((2, 3 * 6, 12), dtype), i64(5, 5), i64(2, 3)], fixed=[1, 2])
    lowered(
        "Col2Im", [filled((1, 2 * 4, 16), dtype), i64(6, 7), i64(2, 2)], fixed=[1, 2], pads=[0, 1, 2, 1],
        strides=[2, 2], dilations=[1, 2],
    )  # fmt: skip
    lowered("Col2Im", [filled((1, 2 * 8, 27), dtype), i64(4, 4, 4), i64(2, 2, 2)], fixed=[1, 2])
