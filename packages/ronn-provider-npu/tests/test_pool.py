"""Pools on an OpenCL device, held against the CPU provider."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npu_runs import same

FEW = settings(max_examples=2, deadline=None)


def filled(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Values that differ, so that there is one largest."""
    return np.asarray(np.random.default_rng(1).permutation(int(np.prod(shape))).reshape(shape)).astype(dtype)


@st.composite
def pools(draw: st.DrawFn, dilated: bool = True) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The shape of x and attributes of a pool: every window has an element."""
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    how: dict[str, Any] = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 3)) for _ in range(rank)]}
    steps = [draw(st.integers(1, 2)) for _ in range(rank)] if dilated else [1] * rank
    if dilated:
        how["dilations"] = steps
    if draw(st.booleans()):
        how["pads"] = [draw(st.integers(0, k - 1)) if d == 1 else 0 for k, d in zip(kernel, steps, strict=True)] * 2
        how["ceil_mode"] = draw(st.integers(0, 1))
    else:
        how["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    return (2, 3, *[(k - 1) * d + 1 + draw(st.integers(0, 5)) for k, d in zip(kernel, steps, strict=True)]), how


@FEW
@given(found=pools(), dtype=st.sampled_from([np.float32, np.float16, np.float64, np.int8, np.uint8]))
def test_max_pool(found: tuple[Any, ...], dtype: Any) -> None:
    shape, how = found
    same("MaxPool", [filled(shape, dtype)], opset=22, **how)


@FEW
@given(found=pools(), columns=st.integers(0, 1), dtype=st.sampled_from([np.float32, np.uint8]))
def test_max_pool_with_indices(found: tuple[Any, ...], columns: int, dtype: Any) -> None:
    shape, how = found
    same("MaxPool", [filled(shape, dtype)], outputs=2, opset=22, storage_order=columns, **how)


@FEW
@given(found=pools(), padded=st.integers(0, 1))
def test_average_pool(found: tuple[Any, ...], padded: int) -> None:
    shape, how = found
    same("AveragePool", [filled(shape)], within=1e-5, opset=22, count_include_pad=padded, **how)


@FEW
@given(found=pools(), p=st.integers(1, 3))
def test_lp_pool(found: tuple[Any, ...], p: int) -> None:
    shape, how = found
    same("LpPool", [filled(shape)], within=1e-4, opset=22, p=p, **how)


@pytest.mark.parametrize("op", ["GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_global_pools(op: str, dtype: Any) -> None:
    x = (filled((2, 3, 5, 7)) / 64).astype(dtype)
    same(op, [x], within=3e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_pools_of_bytes(last: int, dtype: Any) -> None:
    x = filled((2, 6, 7, 3) if last else (2, 3, 6, 7)).astype(dtype)
    zero = np.array(3, dtype)
    inputs = [x, np.array(0.02, np.float32), zero, np.array(0.03, np.float32), zero]
    fixed = [1, 2, 3, 4]
    more: dict[str, Any] = {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "strides": [2, 1]}
    domain = "com.microsoft"
    for padded in (0, 1):
        same(
            "QLinearAveragePool", inputs, fixed=fixed, within=1, domain=domain, channels_last=last,
            count_include_pad=padded, **more,
        )  # fmt: skip
    same("QLinearGlobalAveragePool", inputs, fixed=fixed, within=1, domain=domain, channels_last=last)
    if last:
        same("NhwcMaxPool", [x], domain=domain, **more)
