"""Windows with places (MaxPool with indices and of bytes, MaxUnpool, MaxRoiPool) and DeformConv, as NumPy does them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lower_runs import i64, lowered
from native_support import native_nodes, one_node, run_one

import ronn
from ronn.errors import ExecutionError

FEW = settings(max_examples=20, deadline=None)
ROOMS = st.lists(st.integers(3, 9), min_size=1, max_size=3)


@FEW
@given(room=ROOMS, dtype=st.sampled_from([np.float32, np.int8, np.uint8]), data=st.data(), seed=st.integers(0, 99))
def test_max_pool(room: list[int], dtype: Any, data: st.DataObject, seed: int) -> None:
    rng, rank = np.random.default_rng(seed), len(room)
    x = rng.integers(-100 if dtype != np.uint8 else 0, 100, (2, 3, *room)).astype(dtype)
    kernel = [data.draw(st.integers(1, 3)) for _ in room]
    pads = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    attributes = {
        "kernel_shape": kernel, "pads": pads, "strides": [data.draw(st.integers(1, 3)) for _ in room],
        "storage_order": data.draw(st.integers(0, 1)) if rank > 1 else 0, "ceil_mode": data.draw(st.integers(0, 1)),
    }  # fmt: skip
    located = data.draw(st.booleans()) or dtype == np.float32
    if not located:
        attributes["storage_order"] = 0
    lowered("MaxPool", [x], outputs=2 if located else 1, opset=18, **attributes)


def test_dilated_max_pool() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 11, 12)).astype(np.float32)
    lowered("MaxPool", [x], outputs=2, kernel_shape=[3, 2], dilations=[2, 3], strides=[2, 1])


@FEW
@given(room=ROOMS, more=st.booleans(), fixed=st.booleans(), seed=st.integers(0, 99))
def test_max_unpool(room: list[int], more: bool, fixed: bool, seed: int) -> None:
    rng, rank = np.random.default_rng(seed), len(room)
    x = rng.standard_normal((2, 3, *room)).astype(np.float32)
    size = 6 * int(np.prod([2 * n for n in room]))
    indices = rng.permutation(size)[: x.size].reshape(x.shape).astype(np.int64)
    shape = i64(2, 3, *(2 * n + int(more) for n in room))
    attributes = {"kernel_shape": [2] * rank, "strides": [2] * rank}
    if more:
        feed = {"x": x, "i": indices}
        model = one_node("MaxUnpool", feed, constants={"s": shape}, **attributes)
        (got,), session = run_one(model, feed)
        assert native_nodes(session) == ["MaxUnpool"]
        plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})])
        np.testing.assert_array_equal(got, plain.run(feed)["y0"])
    else:
        lowered("MaxUnpool", [x, indices, *([shape] if fixed else [])], fixed=[2] if fixed else [], **attributes)


def test_an_index_outside_fails() -> None:
    x = np.ones((1, 1, 2), np.float32)
    model = one_node("MaxUnpool", {"x": x, "i": i64(0, 99).reshape(1, 1, 2)}, kernel_shape=[2], strides=[2])
    session = ronn.Session(model, providers=["cpu"])
    with pytest.raises(ExecutionError, match="index lies outside"):
        session.run({"x": x, "i": i64(0, 99).reshape(1, 1, 2)})


@FEW
@given(
    regions=st.integers(1, 5), pooled=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    scale=st.sampled_from([1.0, 0.25]), seed=st.integers(0, 99),
)  # fmt: skip
def test_max_roi_pool(regions: int, pooled: tuple[int, int], scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 5, 11, 13)).astype(np.float32)
    x[0, 0, 3, 3] = np.nan
    rois = rng.integers(-5, 60, (regions, 5)).astype(np.float32)
    rois[:, 0] = rng.integers(0, 2, regions)
    lowered("MaxRoiPool", [x, rois], pooled_shape=list(pooled), spatial_scale=scale)


@FEW
@given(
    groups=st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2)]), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    step=st.integers(1, 2), dilation=st.integers(1, 2), pad=st.integers(0, 2), biased=st.booleans(),
    masked=st.booleans(), batch=st.integers(1, 2), seed=st.integers(0, 99),
)  # fmt: skip
def test_deform_conv(
    groups: tuple[int, int], kernel: tuple[int, int], step: int, dilation: int, pad: int, biased: bool, masked: bool,
    batch: int, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    group, parts = groups
    x = rng.standard_normal((batch, 4, 9, 12)).astype(np.float32)
    w = rng.standard_normal((6, 4 // group, *kernel)).astype(np.float32)
    out = [(n + 2 * pad - dilation * (k - 1) - 1) // step + 1 for n, k in zip(x.shape[2:], kernel, strict=True)]
    taps = kernel[0] * kernel[1]
    offset = rng.normal(0, 2, (batch, parts * taps * 2, *out)).astype(np.float32)
    offset.flat[0] = np.inf
    bias = rng.standard_normal(6).astype(np.float32) if biased and group == 1 else None
    mask = rng.random((batch, parts * taps, *out)).astype(np.float32) if masked else None
    lowered(
        "DeformConv", [x, w, offset, bias, mask], fixed=[1], opset=22, group=group, offset_group=parts,
        strides=[step] * 2, dilations=[dilation] * 2, pads=[pad] * 4, kernel_shape=list(kernel), within=2e-5,
    )  # fmt: skip
