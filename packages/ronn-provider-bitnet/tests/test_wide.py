"""Products with weights of eight bits: exact integer sums on every level, odd sizes, groups, zero points, extremes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from test_products import LEVELS, integer_rows, needs

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())
R = np.random.default_rng


def product(codes, block, *, scale=None, zeros=None, level=4):
    """MatMulNBits of codes u8[N, K] (scale 1 unless given; zeros [N, blocks])."""
    n, k = codes.shape
    blocks = -(-k // block)
    full = np.zeros((n, blocks * block), np.uint8)
    full[:, :k] = codes
    inits = {"b": full.reshape(n, blocks, block)}
    inits["s"] = np.ones(n * blocks, np.float32) if scale is None else scale.reshape(-1)
    if zeros is not None:
        inits["z"] = zeros
    node = h.make_node(
        "MatMulNBits", ["x", *inits], ["y"], domain="com.microsoft", K=k, N=n, bits=8, block_size=block,
        accuracy_level=level,
    )  # fmt: skip
    graph = h.make_graph(
        [node], "g", [h.make_tensor_value_info("x", T.FLOAT, ["M", k])],
        [h.make_tensor_value_info("y", T.FLOAT, ["M", n])], [nh.from_array(v, name) for name, v in inits.items()],
    )  # fmt: skip
    imports = [h.make_opsetid("", 20), h.make_opsetid("com.microsoft", 1)]
    return h.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()


def bits_of(session):
    return [n.attributes["bits"] for n in session._base.assigned() if n.op == "BitLinear"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("block", [32, 16384])
def test_the_largest_sums_there_are(level, block, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    k, n = 16384, 20
    codes = np.zeros((n, k), np.uint8)
    codes[::2] = 255
    codes[0, :256] = np.arange(256)
    session = ronn.Session(product(codes, block), providers=["bitnet"])
    weights = codes.astype(np.int64) - 128
    for value in (127.0, -127.0):
        x = np.full((2, k), value, np.float32)
        expected = (x.astype(np.int64) @ weights.T).astype(np.float32)
        # Blocks are summed in float32: those of 32 have sums below 2**24, many of them may not.
        np.testing.assert_allclose(session.run(x)[0], expected, rtol=0 if block == k else 1e-6)
    assert bits_of(session) == [8]


@pytest.mark.parametrize("level", LEVELS)
def test_integer_sums_are_exact(level, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    codes = R(0).integers(0, 256, (70, 131)).astype(np.uint8)
    session = ronn.Session(product(codes, 256), providers=["bitnet"])
    for m in (1, 2, 3, 5, 7, 11):
        x = integer_rows(m, 131, m)
        expected = x.astype(np.int64) @ (codes.astype(np.int64) - 128).T
        np.testing.assert_array_equal(session.run(x)[0], expected.astype(np.float32))
    assert bits_of(session) == [8]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    m=st.integers(1, 9), k=st.integers(40, 200), n=st.integers(1, 150), block=st.sampled_from([16, 32, 64, 128]),
    zeros=st.sampled_from(["none", "whole", "real"]), level=st.sampled_from([0, 4]),
)  # fmt: skip
def test_any_shape_gives_what_float_products_give(m, k, n, block, zeros, level):
    r, blocks = R(m * k + n), -(-k // block)
    codes = r.integers(0, 256, (n, k)).astype(np.uint8)
    scale = r.uniform(0.001, 0.01, (n, blocks)).astype(np.float32)
    given_zeros = {
        "none": None, "whole": r.integers(0, 256, (n, blocks)).astype(np.uint8),
        "real": r.uniform(0, 255, (n, blocks)).astype(np.float32),
    }[zeros]  # fmt: skip
    session = ronn.Session(product(codes, block, scale=scale, zeros=given_zeros, level=level), providers=["bitnet"])
    x = r.standard_normal((m, k)).astype(np.float32)
    each = np.full((n, blocks), 128.0) if given_zeros is None else given_zeros.astype(np.float64)
    weights = (codes - np.repeat(each, block, 1)[:, :k]) * np.repeat(scale, block, 1)[:, :k]
    given_ = x.astype(np.float64)
    if level == 4:
        steps = 127 / np.abs(given_).max(axis=1, keepdims=True)
        given_ = np.rint(given_ * steps) / steps
    expected = given_ @ weights.T
    # Steps of 16 bits; with bytes, an element that lies in the middle of two may be rounded otherwise.
    bound = np.abs(x).max() / 127 if level == 4 else 3 * k**0.5 * np.abs(x).max() / 32639
    assert np.abs(session.run(x)[0] - expected).max() <= bound * np.abs(weights).max() + 2e-6 * np.abs(expected).max()
    assert bits_of(session) == [8]


def test_native_and_numpy_kernels_agree(monkeypatch):
    r = R(2)
    codes, scale = r.integers(0, 256, (100, 256)).astype(np.uint8), r.uniform(0.5, 2, (100, 4)).astype(np.float32)
    model = product(codes, 64, scale=scale, zeros=r.integers(0, 256, (100, 4)).astype(np.uint8), level=0)
    x = r.standard_normal((6, 256)).astype(np.float32)
    native = ronn.Session(model, providers=["bitnet"]).run(x)[0]
    monkeypatch.setenv("RONN_CPU_LEVEL", "none")
    plain = ronn.Session(model, providers=["bitnet"]).run(x)[0]
    np.testing.assert_allclose(native, plain, rtol=0, atol=3e-6 * np.abs(plain).max())
