"""What forms of weights behind DequantizeLinear enter, and why others do not: the table in docs/bitnet.md."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn

ort = pytest.importorskip("onnxruntime")
R = np.random.default_rng
K, N, BLOCK = 128, 48, 32
INT4, INT2 = np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.int2)


def model(nodes, constants, *, x=("x", T.FLOAT, ["M", K]), y=(("y", T.FLOAT, None),)):
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info(*x)], [h.make_tensor_value_info(*out) for out in y],
        [nh.from_array(np.asarray(v), n) for n, v in constants.items()],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 25)], ir_version=13).SerializeToString()


def weights(r, dtype=INT4, shape=(K, N)):
    low, high = {INT4: (-8, 7), INT2: (-2, 1)}.get(dtype, (-1, 1))
    return r.integers(low, high + 1, shape).astype(dtype)


def run(given_, x, **names):
    session = ronn.Session(given_, providers=["bitnet"])
    found = session.run({names.get("name", "x"): x})
    return session, [found[i] for i in range(len(found))]


def ops(session):
    return [n.op for n in session._base.assigned()]


def reasons(session):
    return " ".join(row.reason for row in session.placement().rows)


def near(y, expected, share=2e-4):
    return np.abs(y - expected).max() <= share * np.abs(expected).max()


def test_a_transpose_in_between():
    r = R(0)
    q, scale = weights(r, shape=(N, K)), r.uniform(0.5, 2, (N, K // BLOCK)).astype(np.float32)
    nodes = [
        h.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1, block_size=BLOCK),
        h.make_node("Transpose", ["w"], ["t"], perm=[1, 0]), h.make_node("MatMul", ["x", "t"], ["y"]),
    ]  # fmt: skip
    x = r.standard_normal((5, K)).astype(np.float32)
    session, (y,) = run(model(nodes, {"q": q, "s": scale}), x)
    assert near(y, x @ (q.astype(np.float32) * np.repeat(scale, BLOCK, 1)).T)
    assert ops(session) == ["BitLinear"]


@pytest.mark.parametrize("half", [True, False])
def test_scales_of_float16(half):
    """With a Cast behind them, and in a model that is float16 as a whole."""
    r = R(1)
    q, scale = weights(r), r.uniform(0.5, 2, N).astype(np.float16)
    kind = T.FLOAT16 if half else T.FLOAT
    nodes = [h.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1)]
    nodes += [] if half else [h.make_node("Cast", ["w"], ["wide"], to=T.FLOAT)]
    nodes.append(h.make_node("MatMul", ["x", "w" if half else "wide"], ["y"]))
    x = r.standard_normal((5, K)).astype(np.float16 if half else np.float32)
    given_ = model(nodes, {"q": q, "s": scale}, x=("x", kind, ["M", K]), y=(("y", kind, None),))
    session, (y,) = run(given_, x)
    expected = x.astype(np.float32) @ (q.astype(np.float32) * scale.astype(np.float32))
    assert y.dtype == x.dtype
    assert near(y.astype(np.float32), expected, 1e-3)
    assert "BitLinear" in ops(session)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_with_beta_and_activation(transposed):
    r = R(2)
    q, scale, c = weights(r), r.uniform(0.5, 2, N).astype(np.float32), r.standard_normal((1, N)).astype(np.float32)
    constants = {"q": np.ascontiguousarray(q.T) if transposed else q, "s": scale, "c": c}
    nodes = [
        h.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0 if transposed else 1),
        h.make_node("Gemm", ["x", "w", "c"], ["g"], transB=transposed, beta=0.5), h.make_node("Relu", ["g"], ["y"]),
    ]  # fmt: skip
    x = r.standard_normal((5, K)).astype(np.float32)
    session, (y,) = run(model(nodes, constants), x)
    assert near(y, np.maximum(x @ (q.astype(np.float32) * scale) + 0.5 * c, 0))
    assert ops(session) == ["BitLinear"]


def test_two_products_share_weights():
    r = R(3)
    q, scale = weights(r, INT2, (K, K)), r.uniform(0.5, 2, K).astype(np.float32) / K
    nodes = [
        h.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1),
        h.make_node("MatMul", ["x", "w"], ["a"]), h.make_node("Relu", ["a"], ["b"]),
        h.make_node("MatMul", ["b", "w"], ["y"]),
    ]  # fmt: skip
    x = r.standard_normal((5, K)).astype(np.float32)
    with ronn.Session(model(nodes, {"q": q, "s": scale}), providers=["bitnet"]) as session:
        y = session.run(x)[0]
        w = q.astype(np.float32) * scale
        assert near(y, np.maximum(x @ w, 0) @ w)
        assert ops(session).count("BitLinear") == 2
        assert session.memory().packed < 2 * K * K // 4  # once, not for each product


def static(r, q, w_scale, x_dtype, x_zero, *, block=0, y_dtype=None, c=None, axis=None):
    """DequantizeLinear of bytes, a product with dequantised weights, and QuantizeLinear where ``y_dtype`` is given."""
    kind = T.INT8 if x_dtype is np.int8 else T.UINT8
    constants = {"q": q, "s": w_scale, "xs": np.float32(0.02)}
    if x_zero is not None:
        constants["xz"] = x_dtype(x_zero)
    how = {"block_size": block, "axis": 0} if block else {"axis": 1 if axis is None else axis}
    names = ["x", "xs"] + (["xz"] if x_zero is not None else [])
    nodes = [
        h.make_node("DequantizeLinear", names, ["real"]), h.make_node("DequantizeLinear", ["q", "s"], ["w"], **how),
    ]  # fmt: skip
    out = "y" if y_dtype is None else "m"
    if c is None:
        nodes.append(h.make_node("MatMul", ["real", "w"], [out]))
    else:
        constants["c"] = c
        nodes.append(h.make_node("Gemm", ["real", "w", "c"], [out]))
    if y_dtype is not None:
        constants |= {"ys": np.float32(0.05), "yz": y_dtype(5)}
        nodes.append(h.make_node("QuantizeLinear", ["m", "ys", "yz"], ["y"]))
    kinds = {None: T.FLOAT, np.int8: T.INT8, np.uint8: T.UINT8}
    return model(nodes, constants, x=("x", kind, ["M", K]), y=(("y", kinds[y_dtype], None),))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    signed=st.booleans(), zero=st.integers(0, 255), kind=st.sampled_from([INT2, INT4, np.dtype(np.int8)]),
    block=st.sampled_from([0, 16, 32]), with_bias=st.booleans(), m=st.integers(1, 9), extremes=st.booleans(),
)  # fmt: skip
def test_bytes_of_a_constant_scale_stay_bytes(signed, zero, kind, block, with_bias, m, extremes):
    r = R(zero + m)
    dtype, x_zero = (np.int8, zero - 128) if signed else (np.uint8, zero)
    info = np.iinfo(dtype)
    q, scale = weights(r, kind), r.uniform(0.5, 2, (K // block, N) if block else N).astype(np.float32)
    x = r.integers(info.min, info.max + 1, (m, K)).astype(dtype)
    if extremes:
        x = r.choice([info.min, info.max], (m, K)).astype(dtype)
    c = r.standard_normal(N).astype(np.float32) if with_bias else None
    session, (y,) = run(static(r, q, scale, dtype, x_zero, block=block, c=c), x)
    width = block if block else K
    expected = np.zeros((m, N))
    for g in range(K // width):
        part = slice(g * width, (g + 1) * width)
        sums = (x[:, part].astype(np.int64) - x_zero) @ q[part].astype(np.int64)
        expected += sums * (scale[g] if block else scale).astype(np.float64)
    expected = expected * np.float64(np.float32(0.02)) + (0 if c is None else c)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * max(np.abs(expected).max(), 1))
    assert ops(session) == ["BitIntegerToFloat"]


@pytest.mark.parametrize("kind", [np.dtype(np.int8), INT4, INT2])
@pytest.mark.parametrize("y_dtype", [np.uint8, np.int8])
def test_static_quantisation_of_whole_layers(kind, y_dtype):
    """int8 weights become QLinearMatMul on the way, others do not: few bits in the end, one step off at most."""
    r = R(5)
    q, scale = weights(r, kind), r.uniform(0.01, 0.02, N).astype(np.float32)
    given_ = static(r, q, scale, y_dtype, 7, y_dtype=y_dtype)
    info = np.iinfo(y_dtype)
    x = r.integers(info.min, info.max + 1, (6, K)).astype(y_dtype)
    session, (y,) = run(given_, x)
    real = (x.astype(np.float64) - 7) * 0.02 @ (q.astype(np.float64) * scale)
    expected = np.clip(np.rint(real / 0.05) + 5, info.min, info.max)
    assert np.abs(y.astype(np.int64) - expected).max() <= 1
    assert (y == expected).mean() > 0.99
    assert "BitIntegerToFloat" in ops(session)


def left(nodes, constants, reason, *, x=None, **how):
    x = R(9).standard_normal((5, K)).astype(np.float32) if x is None else x
    given_ = model(nodes, constants, **how)
    session, (y,) = run(given_, x)
    plain = ronn.Session(given_, providers=["reference"]).run(x)[0]
    np.testing.assert_allclose(y, plain, rtol=1e-4, atol=1e-4 * np.abs(plain).max())
    assert not [op for op in ops(session) if op.startswith("Bit")]
    assert reason in reasons(session)


def dq(**how):
    return h.make_node("DequantizeLinear", ["q", "s"], ["w"], **how)


PRODUCT = h.make_node("MatMul", ["x", "w"], ["y"])


def test_scales_along_k_stay():
    scale = R(0).uniform(0.5, 2, K).astype(np.float32)
    left([dq(axis=0), PRODUCT], {"q": weights(R(1)), "s": scale}, "scales along K")


def test_blocks_across_the_columns_stay():
    scale = R(0).uniform(0.5, 2, (K, N // 16)).astype(np.float32)
    left([dq(axis=1, block_size=16), PRODUCT], {"q": weights(R(1)), "s": scale}, "blocks across the columns")


def test_weights_of_many_values_stay():
    q = R(1).integers(-128, 128, (K, N)).astype(np.int8)
    left([dq(), PRODUCT], {"q": q, "s": np.float32(0.5)}, "more than 16 values in equal steps")


def test_weights_of_a_batch_stay():
    q = weights(R(1), shape=(1, K, N))
    left([dq(), PRODUCT], {"q": q, "s": np.float32(0.5)}, "not constant matrices")


def test_real_weights_of_few_bits_stay():
    q = R(1).choice([-6, -1, 0, 0.5, 4], (K, N)).astype(ml_dtypes.float4_e2m1fn)
    left([dq(), PRODUCT], {"q": q, "s": np.float32(0.5)}, "weights in float4_e2m1fn")


def test_gemm_with_alpha_stays():
    node = h.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5)
    left([dq(), node], {"q": weights(R(1)), "s": np.float32(0.5)}, "alpha or transA")


def test_a_bias_for_each_row_stays():
    node = h.make_node("Gemm", ["x", "w", "c"], ["y"])
    constants = {"q": weights(R(1)), "s": np.float32(0.5), "c": np.ones((5, 1), np.float32)}
    left([dq(), node], constants, "a bias that is not one number a column")


def test_a_vector_stays():
    x = R(9).standard_normal(K).astype(np.float32)
    how = {"x": ("x", T.FLOAT, [K])}
    given_ = model([dq(), PRODUCT], {"q": weights(R(1)), "s": np.float32(0.5)}, **how)
    session, (y,) = run(given_, x)
    np.testing.assert_allclose(y, ronn.Session(given_, providers=["reference"]).run(x)[0], rtol=1e-4, atol=1e-3)
    assert "a vector on the left" in reasons(session)
