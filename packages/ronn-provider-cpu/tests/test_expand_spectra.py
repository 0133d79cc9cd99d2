"""DFT and STFT as products: what NumPy's transforms give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lower_runs import with_shapes
from native_support import numpy_nodes, one_node

import ronn

FEW = settings(max_examples=30, deadline=None)


def compared(
    op: str,
    feed: dict[str, np.ndarray],
    constants: dict[str, np.ndarray],
    order: list[str],
    opset: int,
    **attributes: Any,
) -> None:
    model = with_shapes(one_node(op, feed, constants=constants, order=order, opset=opset, **attributes), constants)
    session = ronn.Session(model, providers=["cpu"])
    got = session.run(feed)["y0"]
    plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"})
    want = plain.run(feed)["y0"]
    assert got.shape == want.shape and got.dtype == want.dtype and numpy_nodes(session) == []
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(want).max())))


@FEW
@given(
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=3), parts=st.integers(1, 2), data=st.data(),
    inverse=st.integers(0, 1), onesided=st.integers(0, 1), opset=st.sampled_from([17, 20]),
    dtype=st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_dft(
    sizes: list[int], parts: int, data: st.DataObject, inverse: int, onesided: int, opset: int, dtype: Any
) -> None:
    if onesided and not inverse and parts == 2:
        parts = 1
    if inverse:
        parts, onesided = 2, 1
    x = np.random.default_rng(0).standard_normal((2, *sizes, parts)).astype(dtype)
    axis = data.draw(st.integers(1, len(sizes)))
    length = data.draw(st.one_of(st.none(), st.integers(2, 12)))
    constants, order, attributes = {}, ["x"], {"inverse": inverse, "onesided": onesided}
    if length is not None:
        constants["n"] = np.array(length)
    if opset == 17:
        order, attributes["axis"] = ["x", *constants], axis
    else:
        order = ["x", "n" if constants else "", "axis"]
        constants["axis"] = np.array(axis)
    compared("DFT", {"x": x}, constants, order, opset, **attributes)


@FEW
@given(
    size=st.integers(8, 40), total=st.integers(60, 130), step=st.integers(1, 20), windowed=st.booleans(),
    onesided=st.integers(0, 1), flat=st.booleans(), fed=st.booleans(),
)  # fmt: skip
def test_stft(size: int, total: int, step: int, windowed: bool, onesided: int, flat: bool, fed: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, total) if flat else (2, total, 1)).astype(np.float32)
    numbers = {"step": np.array(step), "n": np.array(size)}
    order = ["x", "step", "", "n"]
    if windowed:
        numbers["w"], order[2] = rng.random(size).astype(np.float32), "w"
    feed = {"x": x, **(numbers if fed else {})}
    compared("STFT", feed, {} if fed else numbers, order, 17, onesided=onesided)


@pytest.mark.parametrize("length", [1000, 3000])
def test_long_ones_stay(length: int) -> None:
    x = np.random.default_rng(0).standard_normal((1, length, 1)).astype(np.float32)
    session = ronn.Session(one_node("DFT", {"x": x}, opset=17, axis=1), providers=["cpu"])
    (got,) = session.run(x)
    want = np.fft.fft(x[..., 0])
    np.testing.assert_allclose(got[..., 0] + 1j * got[..., 1], want, atol=2e-3)
    assert numpy_nodes(session) == ["DFT"]
