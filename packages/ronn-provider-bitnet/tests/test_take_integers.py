"""Integer products with weights of few bits: the standard's numbers to the bit, on every level."""

from __future__ import annotations

import numpy as np
import pytest
from bit_levels import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())
LEVELS = ("native", "avx2", "baseline", "none")
MS = "com.microsoft"
R = np.random.default_rng


def model(nodes, inputs, outputs, constants):
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [h.make_tensor_value_info(n, t, s) for n, t, s in outputs],
        [nh.from_array(np.asarray(v), n) for n, v in constants.items()],
    )  # fmt: skip
    imports = [h.make_opsetid("", 21), h.make_opsetid(MS, 1)]
    return h.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def integer(x_type, w, x_zero=None, w_zero=None):
    """y = MatMulInteger(x, w)."""
    constants = {"w": w}
    names = ["x", "w", "", ""]
    for i, (name, value) in enumerate((("a", x_zero), ("b", w_zero))):
        if value is not None:
            constants[name], names[2 + i] = value, name
    while not names[-1]:
        names.pop()
    return model(
        [h.make_node("MatMulInteger", names, ["y"])], [("x", x_type, ["M", len(w)])],
        [("y", T.INT32, ["M", w.shape[1]])], constants,
    )  # fmt: skip


def bits_of(session):
    return [n.attributes["bits"] for n in session._base.assigned() if n.op.startswith("BitInteger")]


def exact(x, w, x_zero=0, w_zero=0):
    left = x.astype(np.int64) - np.asarray(x_zero, np.int64).reshape(-1, 1)
    return (left @ (w.astype(np.int64) - np.asarray(w_zero, np.int64))).astype(np.int32)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("values", [[-1, 0, 1], [-1, 1], [-2, -1, 0, 1], list(range(-8, 8)), [-127, 127]])
@pytest.mark.parametrize("signed", [True, False])
def test_the_largest_sums_there_are(level, values, signed, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    k, n = 1030, 37
    low, high = (-128, 127) if signed else (0, 255)
    dtype, kind = (np.int8, T.INT8) if signed else (np.uint8, T.UINT8)
    w = np.empty((k, n), np.int8)
    w[:, ::2], w[:, 1::2] = values[0], values[-1]
    w[: len(values), 0] = values
    for x_zero in (low, high):
        session = ronn.Session(integer(kind, w, dtype(x_zero)), providers=["bitnet"])
        for value in (low, high):
            x = np.full((3, k), value, dtype)
            np.testing.assert_array_equal(session.run(x)[0], exact(x, w, x_zero))
        assert len(bits_of(session)) == 1


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    m=st.integers(1, 9), k=st.integers(1, 200), n=st.integers(1, 150), signed=st.booleans(),
    unsigned_weights=st.booleans(), by_row=st.booleans(), by_column=st.booleans(),
    spread=st.sampled_from([1, 2, 3, 15]), step=st.sampled_from([1, 3, 5]),
)  # fmt: skip
def test_any_shape_and_zero_points(m, k, n, signed, unsigned_weights, by_row, by_column, spread, step):
    r = R(m * k + n)
    kind, dtype = (T.INT8, np.int8) if signed else (T.UINT8, np.uint8)
    info = np.iinfo(dtype)
    x = r.integers(info.min, info.max + 1, (m, k)).astype(dtype)
    x_zero = r.integers(info.min, info.max + 1, m if by_row else ()).astype(dtype)
    middle = 128 if unsigned_weights else 0
    w_zero = r.integers(-20, 20, n if by_column else ()) + middle
    codes = r.integers(-(spread // 2), spread - spread // 2 + 1, (k, n))
    w = codes * step + w_zero
    wide = np.uint8 if unsigned_weights else np.int8
    session = ronn.Session(integer(kind, w.astype(wide), x_zero, w_zero.astype(wide)), providers=["bitnet"])
    np.testing.assert_array_equal(session.run(x)[0], exact(x, w, x_zero, w_zero))
    assert bits_of(session) in ([2], [4])


def test_sums_wrap_round_as_the_standard_has_them():
    k = 70000  # 255 * 255 * k is beyond 32 bits
    w = np.zeros((k, 16), np.uint8)
    session = ronn.Session(integer(T.UINT8, w, np.uint8(0), np.uint8(255)), providers=["bitnet"])
    x = np.full((1, k), 255, np.uint8)
    np.testing.assert_array_equal(session.run(x)[0], exact(x, w, 0, 255))
    assert bits_of(session) == [2]


def test_weights_of_many_values_stay_where_they_are():
    w = R(0).integers(-128, 128, (64, 48)).astype(np.int8)
    session = ronn.Session(integer(T.UINT8, w), providers=["bitnet"])
    x = R(1).integers(0, 256, (3, 64)).astype(np.uint8)
    np.testing.assert_array_equal(session.run(x)[0], exact(x, w))
    assert bits_of(session) == []
    assert "more than 16 values" in " ".join(row.reason for row in session.placement().rows)


def dynamic(w, w_scale, w_zero, bias):
    """As onnxruntime's quantisation of a model writes a MatMul with bias."""
    nodes = [
        h.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        h.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["i"]),
        h.make_node("Cast", ["i"], ["f"], to=T.FLOAT),
        h.make_node("Mul", ["s", "ws"], ["ss"]),
        h.make_node("Mul", ["f", "ss"], ["m"]),
        h.make_node("Add", ["m", "bias"], ["y"]),
    ]
    constants = {"w": w, "ws": w_scale, "wz": w_zero, "bias": bias}
    return model(nodes, [("x", T.FLOAT, ["M", len(w)])], [("y", T.FLOAT, ["M", w.shape[1]])], constants)


@pytest.mark.parametrize("by_column", [False, True])
def test_dynamic_quantisation_as_onnxruntime_has_it(by_column):
    ort = pytest.importorskip("onnxruntime")
    r, k, n = R(3), 192, 70
    w = r.integers(-1, 2, (k, n)).astype(np.int8)
    scale = r.uniform(0.01, 0.1, n if by_column else ()).astype(np.float32)
    zero = np.zeros(n if by_column else (), np.int8)
    given_ = dynamic(w, scale, zero, r.standard_normal(n).astype(np.float32))
    x = r.standard_normal((5, k)).astype(np.float32)
    session = ronn.Session(given_, providers=["bitnet"])
    ours = session.run(x)[0]
    theirs = ort.InferenceSession(given_, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * np.abs(theirs).max())
    assert bits_of(session) == [2]
    assert "MatMulInteger" not in " ".join(n.op for n in session._base.assigned())


def test_dynamic_quantize_matmul():
    r, k, n = R(4), 96, 40
    w, scale = r.integers(0, 4, (k, n)).astype(np.uint8), r.uniform(0.01, 0.1, n).astype(np.float32)
    constants = {"w": w, "ws": scale, "wz": np.full(n, 2, np.uint8), "bias": r.standard_normal(n).astype(np.float32)}
    given_ = model(
        [h.make_node("DynamicQuantizeMatMul", ["x", "w", "ws", "wz", "bias"], ["y"], domain=MS)],
        [("x", T.FLOAT, ["M", k])], [("y", T.FLOAT, ["M", n])], constants,
    )  # fmt: skip
    x = r.standard_normal((4, k)).astype(np.float32)
    session = ronn.Session(given_, providers=["bitnet"])
    expected = ronn.Session(given_, providers=["cpu"]).run(x)[0]
    np.testing.assert_allclose(session.run(x)[0], expected, rtol=1e-5, atol=1e-5)
    assert bits_of(session) == [2]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("by_column", [False, True])
def test_qlinear_matmul(signed, by_column):
    ort = pytest.importorskip("onnxruntime")
    r, k, n = R(5), 160, 50
    kind, dtype = (T.INT8, np.int8) if signed else (T.UINT8, np.uint8)
    w = r.integers(-1, 2, (k, n)).astype(np.int8)
    constants = {
        "xs": np.float32(0.02), "xz": dtype(3), "w": w,
        "ws": r.uniform(0.01, 0.1, n if by_column else ()).astype(np.float32),
        "wz": np.zeros(n if by_column else (), np.int8), "ys": np.float32(0.05), "yz": dtype(7),
    }  # fmt: skip
    given_ = model(
        [h.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])],
        [("x", kind, ["M", k])], [("y", kind, ["M", n])], constants,
    )  # fmt: skip
    info = np.iinfo(dtype)
    x = r.integers(info.min, info.max + 1, (6, k)).astype(dtype)
    session = ronn.Session(given_, providers=["bitnet"])
    ours = session.run(x)[0]
    np.testing.assert_array_equal(ours, ronn.Session(given_, providers=["cpu"]).run(x)[0])
    if not signed or not by_column:
        theirs = ort.InferenceSession(given_, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    assert bits_of(session) == [2]


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("rounded", [True, False])
def test_qgemm(transposed, rounded):
    r, k, n = R(6), 64, 33
    w = r.integers(-1, 2, (k, n)).astype(np.int8)
    constants = {
        "as": np.float32(0.02), "az": np.uint8(120), "w": w.T.copy() if transposed else w, "ws": np.float32(0.1),
        "wz": np.int8(0), "c": r.integers(-500, 500, n).astype(np.int32), "ys": np.float32(0.05), "yz": np.uint8(100),
    }  # fmt: skip
    names = ["x", "as", "az", "w", "ws", "wz", "c"] + (["ys", "yz"] if rounded else [])
    given_ = model(
        [h.make_node("QGemm", names, ["y"], domain=MS, transB=transposed, alpha=0.5)], [("x", T.UINT8, ["M", k])],
        [("y", T.UINT8 if rounded else T.FLOAT, ["M", n])], constants,
    )  # fmt: skip
    x = r.integers(0, 256, (6, k)).astype(np.uint8)
    session = ronn.Session(given_, providers=["bitnet"])
    ours, theirs = session.run(x)[0], ronn.Session(given_, providers=["cpu"]).run(x)[0]
    if rounded:
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert bits_of(session) == [2]
