"""Operators between quantised tensors become integer operators, and mean what they meant."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.ir.graph import clone
from ronn.model import Model
from ronn.ops.infer import infer_types
from ronn.passes.manager import PassContext
from ronn_codegen.passes.fuse_quantised import fuse_quantised

F = np.float32
MS = "com.microsoft::"


class Net:
    """A model whose tensors are brought to bytes and back wherever ``q`` stands."""

    def __init__(self, dtype):
        self.dtype, self.rng = dtype, np.random.default_rng(0)
        self.nodes, self.constants = [], {}

    def const(self, value):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def op(self, op, *inputs, **attributes):
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], f"{op}{len(self.nodes)}", **attributes))
        return out

    def scale(self, scale, zero=120):
        shifted = zero - 128 if self.dtype == np.int8 else zero
        return self.const(F(scale)), self.const(np.asarray(shifted, self.dtype))

    def q(self, x, scale=0.05, zero=120):
        s, z = self.scale(scale, zero)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, s, z), s, z)

    def bytes(self, *shape):
        """A constant of bytes, read through its scale."""
        limits = (-128, 128) if self.dtype == np.int8 else (0, 256)
        data = self.rng.integers(*limits, shape).astype(self.dtype)
        return self.op("DequantizeLinear", self.const(data), *self.scale(0.02))

    def weights(self, axis, *shape):
        w = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = (self.rng.random(shape[axis]) * 0.002 + 0.001).astype(F)
        zero = self.const(np.zeros(shape[axis], np.int8))
        return self.op("DequantizeLinear", self.const(w), self.const(scale), zero, axis=axis)

    def model(self, output):
        graph = helper.make_graph(
            self.nodes, "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(v, n) for n, v in self.constants.items()],
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def network(dtype):
    n = Net(dtype)
    x = n.q("x")
    a = n.q(n.op("Relu", n.op("Conv", x, n.weights(0, 8, 3, 3, 3), n.const(n.rng.normal(size=8).astype(F)))), zero=128)
    b = n.q(n.op("Conv", a, n.weights(0, 8, 8, 3, 3), pads=[1, 1, 1, 1]), 0.04)
    c = n.q(n.op("Add", a, b), 0.06)
    c = n.q(n.op("Sub", c, n.bytes(1, 8, 1, 1)), 0.06)
    c = n.q(n.op("Mul", c, n.bytes(1, 8, 1, 1)), 0.03)
    d = n.q(n.op("MaxPool", c, kernel_shape=[2, 2], strides=[2, 2]), 0.03)
    e = n.q(n.op("Concat", d, d, axis=1), 0.03)
    f = n.q(n.op("GlobalAveragePool", e), 0.02)
    g = n.q(n.op("Flatten", f), 0.02)
    return n.model(n.q(n.op("MatMul", g, n.weights(1, 16, 5)), 0.01))


def test_a_network_on_an_integer_device_means_what_it_meant():
    model = network(np.int8)
    x = np.random.default_rng(1).normal(0, 1, (1, 3, 12, 12)).astype(F)
    with ronn.Session(model, providers=["reference"]) as oracle:
        expected = oracle.run(x)[0]
    with ronn.Session(model, providers=[("npu", {"profile": "edge-npu-8tops"}), "reference"]) as session:
        found = session.run(x)[0]
        ops = [r.op for r in session.placement() if r.provider == "npu"]
    for op in ("QLinearConv", *(MS + name for name in ("QLinearAdd", "QLinearMul", "QLinearGlobalAveragePool"))):
        assert op in ops
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(found, expected, atol=0.021)  # two steps of the last scale


def ops_of(model):
    """The operators behind the pass, and whether a second run of it changes anything."""
    graph = clone(Model.load(model).graph)
    infer_types(graph)
    context = PassContext(opset_imports={"": 20})
    assert fuse_quantised(graph, context)
    infer_types(graph)
    return [n.op_id for n in graph], fuse_quantised(graph, context)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_no_float_stands_between_integer_operators(dtype):
    ops, again = ops_of(network(dtype))
    assert not again
    float_ops = {"Conv", "Add", "Sub", "Mul", "Concat", "GlobalAveragePool", "MatMul"}
    assert not float_ops & set(ops)
    assert ops.count("QuantizeLinear") == 1  # of the input
    assert ops.count("Clip") == 1  # the Relu, whose zero point lies inside of its bytes


def test_what_has_no_integer_form_is_left_alone():
    n = Net(np.uint8)
    y = n.q(n.op("Div", n.q("x"), n.q(n.op("Exp", "x"))))
    graph = clone(Model.load(n.model(y)).graph)
    infer_types(graph)
    assert not fuse_quantised(graph, PassContext(opset_imports={"": 20}))


def test_a_difference_of_tensors_is_left_and_of_a_constant_is_a_sum():
    n = Net(np.uint8)
    y = n.q(n.op("Sub", n.q("x"), n.bytes(1, 3, 1, 1)))
    model = n.model(y)
    assert MS + "QLinearAdd" in ops_of(model)[0]
    x = np.random.default_rng(2).normal(0, 1, (1, 3, 12, 12)).astype(F)
    with (
        ronn.Session(model, providers=["npu"]) as session,
        ronn.Session(model, providers=["reference"], options={"optimization": "none"}) as oracle,
    ):
        np.testing.assert_allclose(session.run(x)[0], oracle.run(x)[0], atol=0.0501)
    n = Net(np.uint8)
    y = n.q(n.op("Sub", n.q("x"), n.q("x", 0.02)))
    graph = clone(Model.load(n.model(y)).graph)
    infer_types(graph)
    assert not fuse_quantised(graph, PassContext(opset_imports={"": 20}))


def test_a_provider_listed_behind_takes_none_of_it():
    """The passes of the CPU, which has convolutions of bytes in another layout, leave alone what a device takes."""
    model = network(np.uint8)
    with ronn.Session(model, providers=["npu", "cpu", "reference"]) as session:
        rows = [(r.op, r.provider) for r in session.placement()]
    assert ("QLinearConv", "npu") in rows
    assert {provider for _, provider in rows} == {"npu"}
