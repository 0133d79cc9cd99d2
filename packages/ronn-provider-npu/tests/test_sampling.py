"""Resizing, sampling at computed positions, and what adds back, on an OpenCL device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npu_runs import on_device, one_node, same

from ronn.errors import ExecutionError

FEW = settings(max_examples=3, deadline=None)


def normal(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.asarray(np.random.default_rng(sum(shape)).standard_normal(shape)).astype(dtype)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


MODES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]


@FEW
@given(
    scales=st.lists(st.sampled_from([0.5, 0.7, 1.0, 1.5, 2.0]), min_size=1, max_size=4),
    mode=st.sampled_from(["nearest", "linear", "cubic"]), where=st.sampled_from(MODES), smooth=st.integers(0, 1),
    dtype=st.sampled_from([np.float32, np.float16, np.float64]),
)  # fmt: skip
def test_resize(scales: list[float], mode: str, where: str, smooth: int, dtype: Any) -> None:
    x = normal(*[5 - i % 2 for i in range(len(scales))], dtype=dtype)
    within = {np.float32: 1e-5, np.float16: 1e-2, np.float64: 1e-6}[dtype]
    same(
        "Resize", [x, None, f32(*scales)], fixed=[2], within=0 if mode == "nearest" else within, mode=mode,
        coordinate_transformation_mode=where, antialias=0 if mode == "nearest" else smooth,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_resize_moves_elements_of_any_type(dtype: Any) -> None:
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    same("Resize", [x, None, None, np.array([2, 5, 7], np.int64)], fixed=[3], nearest_mode="floor")


def test_resize_of_a_part() -> None:
    roi = f32(0, 0, -0.2, 0.3, 1, 1, 0.7, 1.2)
    for mode in ("nearest", "linear"):
        same(
            "Resize", [normal(1, 2, 6, 7), roi, None, np.array([1, 2, 4, 5], np.int64)], fixed=[1, 3], within=1e-5,
            mode=mode, coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=3.0,
        )  # fmt: skip


def test_upsample() -> None:
    same("Upsample", [normal(1, 2, 3, 4), f32(1, 1, 2, 3)], fixed=[1], opset=9, mode="linear", within=1e-5)


@FEW
@given(
    rank=st.integers(1, 3), mode=st.sampled_from(["nearest", "linear", "cubic"]),
    padding=st.sampled_from(["zeros", "border", "reflection"]), align=st.integers(0, 1),
)  # fmt: skip
def test_grid_sample(rank: int, mode: str, padding: str, align: int) -> None:
    x, grid = normal(2, 3, *[4, 5, 3][:rank]), normal(2, *[3, 2, 4][:rank], rank)
    same("GridSample", [x, grid], within=1e-4, mode=mode, padding_mode=padding, align_corners=align)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(mode: str, ratio: int) -> None:
    rois = f32(0, 0, 5, 6, 1.5, 2, 9, 7, -1, -2, 3, 3).reshape(3, 4)
    batch = np.array([1, 0, 1], np.int64)
    inputs = [normal(2, 3, 8, 9), rois, batch]
    same("RoiAlign", inputs, within=1e-4, mode=mode, sampling_ratio=ratio, output_height=3, output_width=2)


def test_pools_of_regions_and_back() -> None:
    x = normal(2, 3, 8, 8)
    rois = f32(0, 0, 0, 5, 6, 1, 1, 2, 7, 7).reshape(2, 5)
    same("MaxRoiPool", [x, rois], pooled_shape=[4, 2], spatial_scale=1.0)
    y, at = same("MaxPool", [x], outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    same("MaxUnpool", [y, at], kernel_shape=[2, 2], strides=[2, 2])


def test_numbers_that_lie_outside_fail_the_run() -> None:
    x = normal(1, 1, 4, 4)
    model, fed = one_node("MaxRoiPool", [x, f32(3, 0, 0, 2, 2).reshape(1, 5)], pooled_shape=[2, 2])
    with pytest.raises(ExecutionError, match="outside 0"):
        on_device(model, fed)
    at = np.full((1, 1, 2, 2), 99, np.int64)
    model, fed = one_node("MaxUnpool", [normal(1, 1, 2, 2), at], kernel_shape=[2, 2], strides=[2, 2])
    with pytest.raises(ExecutionError, match="outside the output"):
        on_device(model, fed)


@FEW
@given(
    rank=st.integers(1, 3), dtype=st.sampled_from([np.float32, np.int32, np.float64]), step=st.integers(1, 2),
    spread=st.integers(1, 2), pad=st.integers(0, 1),
)  # fmt: skip
def test_col2im(rank: int, dtype: Any, step: int, spread: int, pad: int) -> None:
    image, block = [6, 5, 7][:rank], [2, 3, 2][:rank]
    places = [(n + 2 * pad - spread * (k - 1) - 1) // step + 1 for n, k in zip(image, block, strict=True)]
    x = (normal(2, 3 * int(np.prod(block)), int(np.prod(places))) * 8).astype(dtype)
    same(
        "Col2Im", [x, np.array(image, np.int64), np.array(block, np.int64)], fixed=[1, 2], within=1e-5,
        strides=[step] * rank, dilations=[spread] * rank, pads=[pad] * 2 * rank,
    )  # fmt: skip


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 2, 3, 4, 2)])
def test_affine_grid(size: tuple[int, ...]) -> None:
    theta = normal(size[0], len(size) - 2, len(size) - 1)
    for align in (0, 1):
        same("AffineGrid", [theta, np.array(size, np.int64)], fixed=[1], within=1e-5, align_corners=align)


@pytest.mark.parametrize(("groups", "biased"), [(1, True), (2, False)])
def test_deform_conv(groups: int, biased: bool) -> None:
    x, w = normal(2, 4, 7, 6), normal(4, 4 // groups, 3, 2)
    inputs = [x, w, normal(2, 2 * 2 * 6, 5, 5), normal(4) if biased else None, normal(2, 2 * 6, 5, 5)]
    same("DeformConv", inputs, fixed=[1], within=1e-4, group=groups, offset_group=2, opset=22)
