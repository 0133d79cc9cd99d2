"""Scales of blocks: native arithmetic with the results of the NumPy kernels."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, numpy_nodes, one_node

import ronn

FEW = settings(max_examples=15, deadline=None)
TYPES = (np.uint8, np.int8, np.uint16, np.int16, ml_dtypes.uint4, ml_dtypes.int4)
SHAPES = st.sampled_from([((8,), 0, 4), ((6, 10), 1, 5), ((6, 10), 0, 3), ((2, 12, 7), 1, 4), ((2, 3, 32), -1, 16)])


def compared(op: str, feed: dict[str, np.ndarray], **attributes: Any) -> None:
    model = one_node(op, feed, opset=21, **attributes)
    session = ronn.Session(model, providers=["cpu"])
    got = session.run(feed)["y0"]
    plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"})
    want = plain.run(feed)["y0"]
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))
    assert numpy_nodes(session) == [] and native_nodes(session)


def parameters(shape: Any, axis: int, block: int, dtype: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    sizes = [n // block if i == axis % len(shape) else n for i, n in enumerate(shape)]
    scale = rng.uniform(0.01, 0.2, sizes).astype(np.float32)
    return {"s": scale, "z": rng.integers(0, 7, sizes).astype(np.int8).astype(dtype)}


@FEW
@given(dtype=st.sampled_from(TYPES), case=SHAPES, zeros=st.booleans(), seed=st.integers(0, 99))
def test_quantize(dtype: Any, case: Any, zeros: bool, seed: int) -> None:
    shape, axis, block = case
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 5, shape).astype(np.float32)
    x.flat[0], x.flat[1], x.flat[2] = np.nan, np.inf, -np.inf
    feed = {"x": x, **parameters(shape, axis, block, dtype, rng)}
    attributes = {}
    if not zeros:
        del feed["z"]
        attributes["output_dtype"] = int(ronn.ir.types.DType.of(np.dtype(dtype)).code)
    compared("QuantizeLinear", feed, axis=axis, block_size=block, **attributes)


@FEW
@given(dtype=st.sampled_from(TYPES), case=SHAPES, zeros=st.booleans(), seed=st.integers(0, 99))
def test_dequantize(dtype: Any, case: Any, zeros: bool, seed: int) -> None:
    shape, axis, block = case
    rng = np.random.default_rng(seed)
    x = rng.integers(-8 if np.dtype(dtype).name[0] == "i" else 0, 8, shape).astype(np.int16).astype(dtype)
    feed = {"x": x, **parameters(shape, axis, block, dtype, rng)}
    if not zeros:
        del feed["z"]
    compared("DequantizeLinear", feed, axis=axis, block_size=block)


@pytest.mark.parametrize("op", ["QuantizeLinear", "DequantizeLinear"])
def test_a_short_last_block_stays(op: str) -> None:
    """Blocks that do not divide the axis are left to the NumPy kernel."""
    x = np.arange(20).reshape(2, 10).astype(np.float32 if op == "QuantizeLinear" else np.uint8)
    feed = {"x": x, "s": np.full((2, 3), 0.5, np.float32), "z": np.zeros((2, 3), np.uint8)}
    session = ronn.Session(one_node(op, feed, axis=1, block_size=4), providers=["cpu"])
    (got,) = session.run(feed)
    np.testing.assert_allclose(got, np.rint(x * 2) if op == "QuantizeLinear" else x * 0.5)
