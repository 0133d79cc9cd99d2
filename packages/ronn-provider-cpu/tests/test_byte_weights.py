"""Products with int8 weights that stay bytes, however the model scales them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, numpy_nodes
from onnx import TensorProto, helper, numpy_helper

import ronn

K, N = 200, 150
HOW: list[dict[str, Any]] = [{}, {"bias": True}, {"bias": True, "relu": True}, {"scalar": True}, {"zero": 0}]


def model(
    form: str, *, bias: bool = False, relu: bool = False, scalar: bool = False, zero: int | None = None, k: int = K,
    n: int = N,
) -> bytes:  # fmt: skip
    """x[batch, rows, k] times int8 weights [k, n], scaled by ``form``: Mul, DequantizeLinear."""
    rng = np.random.default_rng(0)
    w = rng.integers(-128, 128, (k, n)).astype(np.int8)
    scale = np.float32(0.02) if scalar else rng.uniform(0.001, 0.02, n).astype(np.float32)
    constants = {"w": w, "s": np.asarray(scale), "b": rng.standard_normal(n).astype(np.float32)}
    if form == "Mul":
        nodes = [
            helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), helper.make_node("Mul", ["f", "s"], ["r"]),
        ]  # fmt: skip
    else:
        inputs = ["w", "s"]
        if zero is not None:
            constants["z"] = np.full(constants["s"].shape, zero, np.int8)
            inputs.append("z")
        nodes = [helper.make_node("DequantizeLinear", inputs, ["r"], axis=1)]
    nodes.append(helper.make_node("MatMul", ["x", "r"], ["m"]))
    last = "m"
    if bias:
        nodes.append(helper.make_node("Add", [last, "b"], ["a"]))
        last = "a"
    if relu:
        nodes.append(helper.make_node("Relu", [last], ["u"]))
        last = "u"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "rows", k])],
        [helper.make_empty_tensor_value_info(last)], [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@given(
    k=st.integers(1, 150), n=st.integers(1, 150), rows=st.integers(1, 40), bias=st.booleans(), relu=st.booleans(),
    scalar=st.booleans(),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_sizes(k: int, n: int, rows: int, bias: bool, relu: bool, scalar: bool) -> None:
    data = model("DequantizeLinear", bias=bias, relu=relu, scalar=scalar, k=k, n=n)
    x = np.random.default_rng(k).standard_normal((1, rows, k)).astype(np.float32)
    session = ronn.Session(data, providers=["cpu"])
    got = session.run([x])[0]
    assert numpy_nodes(session) == []
    plain = ronn.Session(data, providers=[("cpu", {"kernels": "numpy"})]).run([x])[0]
    np.testing.assert_allclose(got, plain, rtol=1e-4, atol=1e-4)


def x_of(*batch: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((*batch, K)).astype(np.float32)


@pytest.mark.parametrize("form", ["Mul", "DequantizeLinear"])
@pytest.mark.parametrize("batch", [(1, 1), (1, 7), (3, 5), (2, 64)])
@pytest.mark.parametrize("how", HOW, ids=str)
def test_bits_of_float_weights(form: str, batch: tuple[int, ...], how: dict[str, Any]) -> None:
    data, x = model(form, **how), x_of(*batch)
    session = ronn.Session(data, providers=["cpu"], options={"threads": 2})
    got = session.run([x])[0]
    assert native_nodes(session) == ["ByteMatMul"] and numpy_nodes(session) == []
    without = ronn.Session(data, providers=["cpu"], options={"disabled_passes": ["byte-weights"]})
    expected = without.run([x])[0]
    assert "ByteMatMul" not in native_nodes(without)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    if batch[0] * batch[1] > 6:  # rows of which there are few are added up in other blocks
        np.testing.assert_array_equal(got, expected)
    plain = ronn.Session(data, providers=[("cpu", {"kernels": "numpy"})]).run([x])[0]
    np.testing.assert_allclose(got, plain, rtol=1e-4, atol=1e-4)


def test_weights_take_the_memory_of_bytes() -> None:
    session = ronn.Session(model("Mul"), providers=["cpu"])
    session.run([x_of(1, 8)])
    memory = session.memory()
    assert memory.weights < 1.1 * K * N + 4096 and memory.packed < 1.5 * K * N


def test_sessions_in_bfloat16_keep_float_weights() -> None:
    session = ronn.Session(model("Mul"), providers=["cpu"], options={"precision": "bf16"})
    session.run([x_of(1, 64)])
    assert native_nodes(session) == ["MatMul"]


def test_no_rows() -> None:
    session = ronn.Session(model("Mul", bias=True), providers=["cpu"])
    assert session.run([x_of(0, 3)])[0].shape == (0, 3, N)


def test_other_zero_points_become_floats() -> None:
    data, x = model("DequantizeLinear", zero=3), x_of(2, 3)
    session = ronn.Session(data, providers=["cpu"])
    got = session.run([x])[0]
    assert "ByteMatMul" not in native_nodes(session)
    np.testing.assert_allclose(got, ronn.Session(data, providers=["reference"]).run([x])[0], rtol=1e-4, atol=1e-4)
