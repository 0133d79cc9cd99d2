"""Products of com.microsoft's MatMulNBits with weights of four and eight bits, and what they must come to."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from test_take_bits import packed_bytes

import ronn

R = np.random.default_rng


def product(codes, block, bits, *, scale=None, zeros=None, level=4):
    """MatMulNBits of codes u8[N, K]; scale 1 unless given, zeros [N, blocks] packed unless they are real numbers."""
    n, k = codes.shape
    blocks = -(-k // block)
    full = np.zeros((n, blocks * block), np.uint8)
    full[:, :k] = codes
    inits = {"b": packed_bytes(full.reshape(n, blocks, block), bits)}
    inits["s"] = np.ones(n * blocks, np.float32) if scale is None else scale.reshape(-1)
    if zeros is not None and zeros.dtype == np.uint8:
        whole = np.zeros((n, -(-blocks * bits // 8) * 8 // bits), np.uint8)
        whole[:, :blocks] = zeros
        inits["z"] = packed_bytes(whole, bits).reshape(-1)
    elif zeros is not None:
        inits["z"] = zeros
    node = h.make_node(
        "MatMulNBits", ["x", *inits], ["y"], domain="com.microsoft", K=k, N=n, bits=bits, block_size=block,
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


def check_against_floats(codes, block, bits, m, *, scale, zeros, level, r, rounding):
    """A session's numbers are those of float64, but for what activations of 16 bits lose, or of 8 with level 4."""
    k = codes.shape[1]
    session = ronn.Session(product(codes, block, bits, scale=scale, zeros=zeros, level=level), providers=["bitnet"])
    x = r.standard_normal((m, k)).astype(np.float32)
    each = np.full(scale.shape, 2.0 ** (bits - 1)) if zeros is None else zeros.astype(np.float64)
    weights = (codes - np.repeat(each, block, 1)[:, :k]) * np.repeat(scale, block, 1)[:, :k]
    given = x.astype(np.float64)
    if level == 4:
        steps = 127 / np.abs(given).max(axis=1, keepdims=True)
        given = np.rint(given * steps) / steps
    expected = given @ weights.T
    # Steps of 16 bits; with bytes, an element that lies in the middle of two may be rounded otherwise.
    bound = np.abs(x).max() / 127 if level == 4 else 3 * k**0.5 * np.abs(x).max() / 32639
    bound = bound * np.abs(weights).max() + rounding * np.abs(expected).max()
    assert np.abs(session.run(x)[0] - expected).max() <= bound
    assert bits_of(session) == [bits]


def check_native_against_numpy(bits, monkeypatch):
    r, top = R(2), 1 << bits
    codes, scale = r.integers(0, top, (100, 256)).astype(np.uint8), r.uniform(0.5, 2, (100, 4)).astype(np.float32)
    model = product(codes, 64, bits, scale=scale, zeros=r.integers(0, top, (100, 4)).astype(np.uint8), level=0)
    x = r.standard_normal((6, 256)).astype(np.float32)
    native = ronn.Session(model, providers=["bitnet"]).run(x)[0]
    monkeypatch.setenv("RONN_CPU_LEVEL", "none")
    plain = ronn.Session(model, providers=["bitnet"]).run(x)[0]
    np.testing.assert_allclose(native, plain, rtol=0, atol=3e-6 * np.abs(plain).max())
