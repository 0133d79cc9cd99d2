"""fuse-qdq and fuse-integer-products: what they make of quantised graphs, held against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from native_support import native_nodes, numpy_nodes
from onnx import TensorProto, helper, numpy_helper

import ronn

F = np.float32
MS = "com.microsoft"


class Net:
    """Builds a model whose tensors are quantised wherever ``q`` says."""

    def __init__(self, dtype: Any = np.uint8, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def const(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def op(self, op: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
        outs = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, outs, domain=domain, **attributes))
        return outs[0] if outputs == 1 else outs

    def q(self, x: str, scale: float = 0.05, zero: int = 120) -> str:
        """x brought to bytes and back."""
        s, z = self.scale(scale, zero)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, s, z), s, z)

    def scale(self, scale: float, zero: int) -> tuple[str, str]:
        shifted = zero - 128 if self.dtype == np.int8 else zero
        return self.const(F(scale)), self.const(np.asarray(shifted, self.dtype))

    def weights(self, *shape: int) -> tuple[str, str, str]:
        w = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = (self.rng.random(shape[0]) * 0.002 + 0.001).astype(F)
        return self.const(w), self.const(scale), self.const(np.zeros(shape[0], np.int8))

    def conv(self, x: str, x_scale: float, *shape: int, **attributes: Any) -> str:
        w, s, z = self.weights(*shape)
        bias = self.rng.integers(-3000, 3000, shape[0]).astype(np.int32)
        steps = self.const(self.constants[s] * F(x_scale))
        b = self.op("DequantizeLinear", self.const(bias), steps, self.const(np.zeros(shape[0], np.int32)), axis=0)
        return self.op("Conv", x, self.op("DequantizeLinear", w, s, z, axis=0), b, **attributes)

    def model(self, output: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> bytes:
        graph = helper.make_graph(
            self.nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, kind, None)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )  # fmt: skip
        imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def compare(model: bytes, x: np.ndarray, step: float, **options: Any) -> list[str]:
    """Runs the model beside ONNX Runtime; results may differ by ``step``. Returns the native operators."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    want = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    session = ronn.Session(model, providers=["cpu"], options=options)
    got = np.asarray(session.run({"x": x})[0])
    assert got.shape == want.shape and got.dtype == want.dtype
    difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
    assert difference.max() <= step * 1.001
    assert (difference > step / 2).mean() < 0.02
    assert numpy_nodes(session) == []
    return native_nodes(session)


def image(*shape: int) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(shape) * 2).astype(F)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_residual_block_is_three_convolutions(dtype):
    """Batch normalisation, sum and Relu go into the convolutions; transposes stand at the borders only."""
    net = Net(dtype)
    x = net.q("x")
    first = net.q(net.op("Relu", net.conv(x, 0.05, 16, 8, 3, 3, pads=[1, 1, 1, 1])), 0.04, 0)
    second = net.q(net.conv(first, 0.04, 16, 16, 1, 1), 0.08, 130)
    shift = net.const(net.rng.standard_normal((1, 16, 1, 1)).astype(F))
    factor = net.q(net.const(net.rng.random((1, 16, 1, 1)).astype(F)), 0.004, 0)
    normal = net.q(net.op("Mul", net.q(net.op("Sub", second, shift), 0.08, 128), factor), 0.07, 125)
    side = net.q(net.conv(x, 0.05, 16, 8, 1, 1), 0.06, 110)
    total = net.q(net.op("Relu", net.op("Add", normal, side)), 0.09, 0)
    pooled = net.q(net.op("MaxPool", total, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 0.09, 0)
    ops = compare(net.model(pooled, (2, 8, 9, 10)), image(2, 8, 9, 10), 0.09)
    assert ops.count("QConvNhwc") == 3 and ops.count("NhwcMaxPool") == 1
    assert not {"Add", "Sub", "Mul", "Relu", "Conv"} & set(ops)
    assert ops.count("Transpose") <= 2 and ops.count("QuantizeLinear") == ops.count("DequantizeLinear") == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_other_operators(dtype):
    net = Net(dtype)
    x = net.q("x")
    a = net.q(net.conv(x, 0.05, 12, 1, 3, 3, pads=[1, 1, 1, 1], group=12), 0.05, 120)
    b = net.q(net.op("Clip", net.conv(a, 0.05, 20, 12, 1, 1), net.const(F(0)), net.const(F(6))), 0.03, 0)
    both = net.q(net.op("Concat", a, b, axis=1), 0.06, 100)
    padded = net.q(net.op("Pad", both, net.const(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))), 0.06, 100)
    pooled = net.q(net.op("AveragePool", padded, kernel_shape=[2, 2], strides=[2, 2]), 0.04, 90)
    mean = net.q(net.op("GlobalAveragePool", pooled), 0.02, 100)
    flat = net.q(net.op("Flatten", mean), 0.02, 100)
    w, s, z = net.weights(32, 7)
    scale, zero = net.const(F(0.003)), net.const(np.int8(0))
    del s, z
    y = net.q(net.op("MatMul", flat, net.op("DequantizeLinear", w, scale, zero)), 0.02, 128)
    ops = compare(net.model(y, (2, 12, 9, 9)), image(2, 12, 9, 9), 0.02)
    assert {"QConvNhwc", "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearMatMul"} <= set(ops)
    assert not {"Conv", "Concat", "AveragePool", "GlobalAveragePool", "MatMul"} & set(ops)


def test_values_that_others_read():
    """A value inside of a chain that is an output, or read in float32, is turned back and ends its chain."""
    net = Net()
    x = net.q("x")
    first = net.q(net.conv(x, 0.05, 16, 8, 1, 1), 0.06, 120)
    second = net.q(net.op("Mul", first, net.const(F(1.7))), 0.09, 120)
    both = net.op("Add", net.op("Sigmoid", first), second)
    ops = compare(net.model(both, (1, 8, 5, 5)), image(1, 8, 5, 5), 0.09)
    assert "QConvNhwc" in ops


def test_qlinear_operators():
    """QOperator models run on the same kernels: convolutions absorb what follows them."""
    net = Net()
    s, z = net.scale(0.05, 120)
    out, out_zero = net.scale(0.07, 118)
    last, last_zero = net.scale(0.1, 100)
    x = net.op("QuantizeLinear", "x", s, z)
    w, w_scale, w_zero = net.weights(24, 8, 3, 3)
    bias = net.const(net.rng.integers(-999, 999, 24).astype(np.int32))
    y = net.op("QLinearConv", x, s, z, w, w_scale, w_zero, out, out_zero, bias, pads=[1, 1, 1, 1], strides=[2, 2])
    factor = net.const(net.rng.integers(0, 256, (1, 24, 1, 1)).astype(np.uint8))
    f_scale, f_zero = net.scale(0.01, 30)
    y = net.op("QLinearMul", y, out, out_zero, factor, f_scale, f_zero, last, last_zero, domain=MS)
    y = net.op("MaxPool", y, kernel_shape=[2, 2])
    y = net.op("QLinearAdd", y, last, last_zero, y, last, last_zero, last, last_zero, domain=MS)
    y = net.op("DequantizeLinear", y, last, last_zero)
    ops = compare(net.model(y, (1, 8, 11, 12)), image(1, 8, 11, 12), 0.2)
    assert ops.count("QConvNhwc") == 1 and "QLinearMul" not in ops and "NhwcMaxPool" in ops


def test_a_disabled_pass_gives_the_same_answers():
    net = Net()
    y = net.q(net.op("Relu", net.conv(net.q("x"), 0.05, 16, 8, 3, 3)), 0.05, 3)
    model, x = net.model(y, (1, 8, 7, 7)), image(1, 8, 7, 7)
    assert "QConvNhwc" in compare(model, x, 0.05)
    assert "QConvNhwc" not in compare(model, x, 0.05, disabled_passes=("fuse-qdq",))


@pytest.mark.parametrize("bias", [False, True])
def test_dynamically_quantised_products(bias):
    net = Net()
    q, s, z = net.op("DynamicQuantizeLinear", "x", outputs=3)
    w, w_scale = net.const(net.rng.integers(0, 256, (9, 8, 3, 3)).astype(np.uint8)), net.const(F(0.01))
    y = net.op("ConvInteger", q, w, z, net.const(np.uint8(121)), pads=[1, 1, 1, 1])
    scales = net.op("Mul", s, w_scale)
    if bias:
        values = net.const(net.rng.standard_normal(9).astype(F))
        whole = net.op("Cast", net.op("Floor", net.op("Div", values, scales)), to=TensorProto.INT32)
        y = net.op("Add", y, net.op("Reshape", whole, net.const(np.array([1, -1, 1, 1], np.int64))))
    y = net.op("Mul", net.op("Cast", y, to=TensorProto.FLOAT), scales)
    q, s, z = net.op("DynamicQuantizeLinear", y, outputs=3)
    columns = net.const(net.rng.integers(-128, 128, (10, 6)).astype(np.int8))
    y = net.op("Cast", net.op("MatMulInteger", q, columns, z), to=TensorProto.FLOAT)
    y = net.op("Mul", net.op("Mul", s, net.const((net.rng.random(6) * 0.01).astype(F))), y)
    if bias:
        y = net.op("Add", y, net.const(net.rng.standard_normal(6).astype(F)))
    ops = compare(net.model(y, (2, 8, 10, 10)), image(2, 8, 10, 10), 1e-4)
    assert sorted(ops) == [
        "ConvIntegerToFloat",
        "DynamicQuantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulIntegerToFloat",
    ]
