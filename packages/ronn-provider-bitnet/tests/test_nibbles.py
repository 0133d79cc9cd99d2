"""Products with weights of four bits: exact integer sums on every level, odd sizes, groups, zero points, extremes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from test_products import LEVELS, integer_rows, needs
from test_take_bits import packed_bytes

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())
R = np.random.default_rng


def product(codes, block, *, scale=None, zeros=None, level=4):
    """MatMulNBits of codes u8[N, K] (scale 1 unless given; zeros u8[N, blocks])."""
    n, k = codes.shape
    blocks = -(-k // block)
    full = np.zeros((n, blocks * block), np.uint8)
    full[:, :k] = codes
    inits = {"b": packed_bytes(full.reshape(n, blocks, block), 4)}
    inits["s"] = np.ones(n * blocks, np.float32) if scale is None else scale.reshape(-1)
    if zeros is not None:
        even = np.zeros((n, -(-blocks // 2) * 2), np.uint8)
        even[:, :blocks] = zeros
        inits["z"] = packed_bytes(even, 4).reshape(-1)
    node = h.make_node(
        "MatMulNBits", ["x", *inits], ["y"], domain="com.microsoft", K=k, N=n, bits=4, block_size=block,
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
@pytest.mark.parametrize("zeros", ["none", "one", "each"])
def test_the_largest_sums_there_are(level, zeros, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    k, n, block = 4096, 40, 32
    codes = np.zeros((n, k), np.uint8)
    codes[::2] = 15
    codes[0, :16] = np.arange(16)
    zero = {"none": None, "one": np.full((n, k // block), 15, np.uint8)}.get(zeros)
    if zeros == "each":
        zero = np.repeat(np.where(np.arange(n) % 4 < 2, 0, 15)[:, None], k // block, 1).astype(np.uint8)
    session = ronn.Session(product(codes, block, zeros=zero), providers=["bitnet"])
    weights = codes.astype(np.int64) - (8 if zero is None else zero[:, :1].astype(np.int64))
    for value in (127.0, -127.0):
        x = np.full((3, k), value, np.float32)
        np.testing.assert_array_equal(session.run(x)[0], (x.astype(np.int64) @ weights.T).astype(np.float32))
    assert bits_of(session) == [4]


@pytest.mark.parametrize("level", LEVELS)
def test_integer_sums_are_exact(level, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    codes = R(0).integers(0, 16, (70, 131)).astype(np.uint8)
    session = ronn.Session(product(codes, 256), providers=["bitnet"])
    for m in (1, 2, 3, 5, 7, 11):
        x = integer_rows(m, 131, m)
        expected = x.astype(np.int64) @ (codes.astype(np.int64) - 8).T
        np.testing.assert_array_equal(session.run(x)[0], expected.astype(np.float32))
    assert bits_of(session) == [4]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    m=st.integers(1, 9), k=st.integers(17, 200), n=st.integers(1, 150), block=st.sampled_from([16, 32, 64, 128]),
    with_zeros=st.booleans(), level=st.sampled_from([0, 4]),
)  # fmt: skip
def test_any_shape_gives_what_float_products_give(m, k, n, block, with_zeros, level):
    r, blocks = R(m * k + n), -(-k // block)
    codes = r.integers(0, 16, (n, k)).astype(np.uint8)
    codes[0, :17] = np.arange(17) % 16
    scale = r.uniform(0.01, 0.1, (n, blocks)).astype(np.float32)
    zeros = r.integers(0, 16, (n, blocks)).astype(np.uint8) if with_zeros else None
    session = ronn.Session(product(codes, block, scale=scale, zeros=zeros, level=level), providers=["bitnet"])
    x = r.standard_normal((m, k)).astype(np.float32)
    each = np.full((n, blocks), 8.0) if zeros is None else zeros.astype(np.float64)
    weights = (codes - np.repeat(each, block, 1)[:, :k]) * np.repeat(scale, block, 1)[:, :k]
    given_ = x.astype(np.float64)
    if level == 4:
        steps = 127 / np.abs(given_).max(axis=1, keepdims=True)
        given_ = np.rint(given_ * steps) / steps
    expected = given_ @ weights.T
    # Steps of 16 bits; with bytes, an element that lies in the middle of two may be rounded otherwise.
    bound = np.abs(x).max() / 127 if level == 4 else 3 * k**0.5 * np.abs(x).max() / 32639
    assert np.abs(session.run(x)[0] - expected).max() <= bound * np.abs(weights).max() + 1e-6 * np.abs(expected).max()
    assert bits_of(session) == [4]


def test_native_and_numpy_kernels_agree(monkeypatch):
    r = R(2)
    codes, scale = r.integers(0, 16, (100, 256)).astype(np.uint8), r.uniform(0.5, 2, (100, 4)).astype(np.float32)
    model = product(codes, 64, scale=scale, zeros=r.integers(0, 16, (100, 4)).astype(np.uint8), level=0)
    x = r.standard_normal((6, 256)).astype(np.float32)
    native = ronn.Session(model, providers=["bitnet"]).run(x)[0]
    monkeypatch.setenv("RONN_CPU_LEVEL", "none")
    plain = ronn.Session(model, providers=["bitnet"]).run(x)[0]
    np.testing.assert_allclose(native, plain, rtol=0, atol=3e-6 * np.abs(plain).max())
