"""LpPool and GlobalLpPool run natively, as the NumPy kernels do them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import numpy_nodes, one_node

import ronn

FEW = settings(max_examples=20, deadline=None)


def compared(op: str, x: np.ndarray, **attributes: Any) -> None:
    model = one_node(op, {"x": x}, opset=18, **attributes)
    session = ronn.Session(model, providers=["cpu"])
    got = session.run(x)["y0"]
    plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"})
    want = plain.run(x)["y0"]
    assert got.shape == want.shape and numpy_nodes(session) == []
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@FEW
@given(room=st.lists(st.integers(4, 9), min_size=1, max_size=3), p=st.integers(1, 4), ceil=st.integers(0, 1),
       data=st.data())  # fmt: skip
def test_windows(room: list[int], p: int, ceil: int, data: st.DataObject) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *room)).astype(np.float32)
    kernel = [data.draw(st.integers(1, 3)) for _ in room]
    pads = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    strides = [data.draw(st.integers(1, 3)) for _ in room]
    compared("LpPool", x, kernel_shape=kernel, pads=pads, strides=strides, p=p, ceil_mode=ceil)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_pads(auto_pad: str) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 9, 10)).astype(np.float32)
    compared("LpPool", x, kernel_shape=[3, 2], strides=[2, 2], auto_pad=auto_pad)
    compared("LpPool", x, kernel_shape=[2, 2], dilations=[2, 3])


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global(p: int) -> None:
    compared("GlobalLpPool", np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32), p=p)
