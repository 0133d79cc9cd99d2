"""fuse-conv-bn: normalisations, scales and shifts go into the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from ronn.frontend.proto import model_to_proto
from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.ir.types import DType, TensorType
from ronn.passes.fuse_conv_bn import fuse_conv_bn

OPSET = 15


class Maker:
    """Builds x -> base -> follower with random constants."""

    def __init__(self, shape: tuple[int, ...], dtype: DType = DType.FLOAT32) -> None:
        self.rng = np.random.default_rng(3)
        self.graph = Graph("g")
        self.dtype = dtype
        self.value: Value = self.graph.add_input("x", TensorType(dtype, shape))

    def const(self, *shape: int, positive: bool = False) -> Value:
        data = self.rng.standard_normal(shape)
        return self.graph.constant((np.abs(data) + 0.1 if positive else data).astype(self.dtype.numpy))

    def then(self, op: str, *inputs: Value, first: bool = True, **attributes: Any) -> Maker:
        operands = [self.value, *inputs] if first else [*inputs, self.value]
        node = Node(op, operands, [Value(f"v{len(self.graph)}")], attributes, version=OPSET)
        self.value = self.graph.append(node).output
        return self

    def norm(self, channels: int, **attributes: Any) -> Maker:
        params = [self.const(channels) for _ in range(3)]
        return self.then("BatchNormalization", *params, self.const(channels, positive=True), **attributes)

    def done(self) -> Graph:
        self.graph.add_output(self.value, "y")
        return self.graph


def conv(bias: bool = True) -> Maker:
    m = Maker((2, 4, 7, 7))
    return m.then("Conv", m.const(6, 2, 3, 3), *([m.const(6)] if bias else []), group=2, pads=[1, 1, 1, 1])


@pytest.mark.parametrize("bias", [True, False])
def test_conv(apply: Any, bias: bool) -> None:
    done = apply(fuse_conv_bn, conv(bias).norm(6, epsilon=1e-3).done(), rtol=1e-4, atol=1e-4)
    assert done.ops == ["Conv"]
    assert done.graph.nodes[0].tags == ("fuse-conv-bn",)


@pytest.mark.parametrize("group", [1, 2])
def test_conv_transpose(apply: Any, group: int) -> None:
    m = Maker((2, 4, 5, 5))
    m.then("ConvTranspose", m.const(4, 3, 3, 3), group=group).norm(3 * group)
    before = clone(m.done())
    # onnx.reference cannot compute grouped ConvTranspose.
    done = apply(fuse_conv_bn, m.graph, compare=False)
    assert done.ops == ["ConvTranspose"]
    x = m.rng.standard_normal((2, 4, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(run_ort(done.graph, x), run_ort(before, x), rtol=1e-4, atol=1e-4)


def run_ort(graph: Graph, x: np.ndarray) -> np.ndarray:
    model = model_to_proto(IRModel(graph, {"": OPSET}))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": x})
    return np.asarray(result)


@pytest.mark.parametrize("flag", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_gemm(apply: Any, flag: int, bias: bool) -> None:
    m = Maker((3, 4))
    weight = m.const(6, 4) if flag else m.const(4, 6)
    m.then("Gemm", weight, *([m.const(6)] if bias else []), transB=flag, alpha=0.5, beta=2.0).norm(6)
    assert apply(fuse_conv_bn, m.done(), rtol=1e-4, atol=1e-4).ops == ["Gemm"]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (6, 1, 1), (1,), ()])
def test_constants_per_channel(apply: Any, op: str, shape: tuple[int, ...]) -> None:
    m = conv()
    m.then(op, m.const(*shape, positive=True))
    assert apply(fuse_conv_bn, m.done(), rtol=1e-4, atol=1e-4).ops == ["Conv"]


@pytest.mark.parametrize(("op", "folds"), [("Add", True), ("Mul", True), ("Sub", False), ("Div", False)])
def test_constants_on_the_left(apply: Any, op: str, folds: bool) -> None:
    m = conv()
    m.then(op, m.const(1, 6, 1, 1, positive=True), first=False)
    assert apply(fuse_conv_bn, m.done(), rtol=1e-4, atol=1e-4).changed is folds


@pytest.mark.parametrize("shape", [(7,), (1, 1, 7, 1), (2, 6, 1, 1), (1, 1, 1, 1, 1)])
def test_constants_of_other_shapes_stay(apply: Any, shape: tuple[int, ...]) -> None:
    m = conv()
    m.then("Add", m.const(*shape))
    assert not apply(fuse_conv_bn, m.done()).changed


def test_training_form_and_second_user_stay(apply: Any) -> None:
    assert not apply(fuse_conv_bn, conv().norm(6, training_mode=1).done(), compare=False).changed
    m = conv()
    first = m.value
    m.norm(6)
    m.graph.add_output(first, "first")
    assert not apply(fuse_conv_bn, m.done()).changed


def test_follower_inside_a_branch_stays(apply: Any) -> None:
    m = conv()
    shift, outer = m.const(6, 1, 1), m.value
    branch, other = Graph("then"), Graph("else")
    branch.add_output(branch.append(Node("Add", [outer, shift], [Value("t")], version=OPSET)).output)
    zero = other.constant(np.zeros((2, 6, 7, 7), np.float32), "zero")
    other.add_output(other.append(Node("Neg", [zero], [Value("e")], version=OPSET)).output)
    condition = m.graph.add_input("c", TensorType(DType.BOOL, ()))
    node = Node("If", [condition], [Value("y")], {"then_branch": branch, "else_branch": other}, version=OPSET)
    m.graph.add_output(m.graph.append(node).output)
    done = apply(fuse_conv_bn, m.graph)
    assert not done.changed and done.ops == ["Conv", "If"]


def test_weights_that_are_no_constants_stay(apply: Any) -> None:
    m = Maker((2, 4, 7, 7))
    weight = m.graph.add_input("w", TensorType(DType.FLOAT32, (6, 4, 3, 3)))
    assert not apply(fuse_conv_bn, m.then("Conv", weight).norm(6).done()).changed


def test_weights_that_would_overflow_stay(apply: Any) -> None:
    m = Maker((2, 4, 7, 7), DType.FLOAT16)
    m.then("Conv", m.const(6, 4, 3, 3))
    m.then("Mul", m.graph.constant(np.array(6e4, np.float16)))
    m.then("Mul", m.graph.constant(np.array(1e-4, np.float16)))
    done = apply(fuse_conv_bn, m.done(), compare=False)
    assert "the folded weights would not be finite" in done.reasons


def test_chain(apply: Any) -> None:
    m = conv(bias=False).norm(6)
    m.then("Mul", m.const(6, 1, 1)).then("Add", m.const(6, 1, 1))
    assert apply(fuse_conv_bn, m.done(), rtol=1e-3, atol=1e-3).ops == ["Conv"]


@pytest.mark.parametrize("same_scale", [True, False])
def test_layers_that_share_weights_go_on_sharing(apply: Any, same_scale: bool) -> None:
    m = Maker((2, 4, 7, 7))
    weights, scale = m.const(4, 4, 3, 3), m.const(4, 1, 1)
    m.then("Conv", weights, pads=[1, 1, 1, 1]).then("Mul", scale)
    m.then("Conv", weights, pads=[1, 1, 1, 1]).then("Mul", scale if same_scale else m.const(4, 1, 1))
    done = apply(fuse_conv_bn, m.done(), rtol=1e-4, atol=1e-4)
    first, second = done.graph.nodes
    assert (first.inputs[1] is second.inputs[1]) == same_scale


def test_a_scale_of_one_leaves_the_weights(apply: Any) -> None:
    m = Maker((2, 4, 7, 7))
    weights = m.const(4, 4, 3, 3)
    m.then("Conv", weights).then("Add", m.const(4, 1, 1))
    done = apply(fuse_conv_bn, m.done(), rtol=1e-5, atol=1e-5)
    assert done.ops == ["Conv"]
    assert done.graph.nodes[0].inputs[1].data is weights.data
