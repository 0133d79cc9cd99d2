"""fuse-bias-activation and lower-fused: fused nodes are made for takers only, and mean what they replace."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.ir.graph import Node
from ronn.ops.fused import ACTIVATION_ARITY
from ronn.ops.infer import infer_types
from ronn.ops.schema import find_schema
from ronn.passes.fuse_bias_activation import fuse_bias_activation
from ronn.passes.lower_fused import lower_fused

TAKES = "FusedConv FusedGemm FusedMatMul"
BASES = {
    "Conv": (
        "%x: f32[N,3,6,6], %w: f32[4,3,3,3], %b: f32[4]",
        "%h = Conv(%x, %w, %b) {pads=[1, 1, 1, 1], strides=[2, 2]}",
    ),
    "Gemm": ("%x: f32[N,5], %w: f32[4,5], %b: f32[4]", "%h = Gemm(%x, %w, %b) {transB=1, alpha=0.5}"),
    "MatMul": ("%x: f32[N,2,5], %w: f32[5,4], %b: f32[4]", "%m = MatMul(%x, %w)\n%h = Add(%b, %m)"),
}
ACTIVATIONS = {
    "Relu": ("%y = Relu(%h)", []),
    "Sigmoid": ("%y = Sigmoid(%h)", []),
    "Tanh": ("%y = Tanh(%h)", []),
    "Softplus": ("%y = Softplus(%h)", []),
    "HardSwish": ("%y = HardSwish(%h)", []),
    "LeakyRelu": ("%y = LeakyRelu(%h) {alpha=0.25}", [0.25]),
    "Elu": ("%y = Elu(%h) {alpha=0.5}", [0.5]),
    "HardSigmoid": ("%y = HardSigmoid(%h)", [0.2, 0.5]),
    "Gelu": ("%y = Gelu:20(%h)", []),
    "GeluTanh": ('%y = Gelu:20(%h) {approximate="tanh"}', []),
    "Silu": ("%s = Sigmoid(%h)\n%y = Mul(%h, %s)", []),
    "Clip": ("%lo: f32[] = const {-1.0}\n%hi: f32[] = const {6.0}\n%y = Clip(%h, %lo, %hi)", [-1.0, 6.0]),
}


def text(base: str, after: str, outputs: str = "%y") -> str:
    inputs, body = BASES[base]
    return f'opset {{"": 18}}\ngraph g({inputs}) {{\n{body}\n{after}\n  return {outputs}\n}}\n'


def test_every_activation_is_tried() -> None:
    assert {"", *ACTIVATIONS} == set(ACTIVATION_ARITY)
    assert all(len(params) == ACTIVATION_ARITY[name] for name, (_, params) in ACTIVATIONS.items())


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(apply: Any, base: str, name: str) -> None:
    after, params = ACTIVATIONS[name]
    done = apply(fuse_bias_activation, text(base, after), takes=TAKES, rtol=1e-5, atol=1e-6)
    (node,) = done.graph
    assert node.op_id == f"ronn::Fused{base}" and node.version == 1
    assert node.attributes["activation"] == name
    assert list(node.attributes.get("activation_params", [])) == pytest.approx(params)
    assert len(node.inputs) == 3
    before = str(node.output.type)
    node.output.type = None
    infer_types(done.graph)
    assert str(node.output.type) == before
    # Nobody takes it any more: the plain operators come back.
    lowered = apply(lower_fused, done.graph, rtol=1e-5, atol=1e-6)
    assert not any(n.domain == "ronn" for n in lowered.graph)


def test_swish_node(apply: Any) -> None:
    done = apply(fuse_bias_activation, text("Conv", "%y = Swish:24(%h)"), takes=TAKES, rtol=1e-5, atol=1e-6)
    assert done.graph.nodes[0].attributes["activation"] == "Silu"
    other = apply(fuse_bias_activation, text("Conv", "%y = Swish:24(%h) {alpha=2.0}"), takes=TAKES)
    assert not other.changed


def test_bias_alone(apply: Any) -> None:
    done = apply(fuse_bias_activation, text("MatMul", "%y = Exp(%h)"), takes=TAKES, rtol=1e-5, atol=1e-6)
    assert done.ops == ["ronn::FusedMatMul", "Exp"]
    assert "activation" not in done.graph.nodes[0].attributes


def test_constant_bias_with_leading_ones(apply: Any) -> None:
    body = 'opset {"": 18}\ngraph g(%x: f32[N,2,5], %w: f32[5,2]) {\n  %b: f32[1,1,2] = const {1.0, 2.0}\n'
    body += "  %m = MatMul(%x, %w)\n  %y = Add(%m, %b)\n  return %y\n}\n"
    done = apply(fuse_bias_activation, body, takes=TAKES, rtol=1e-5, atol=1e-6)
    assert done.graph.nodes[0].inputs[2].tensor.shape == (2,)


@pytest.mark.parametrize("bias", ["f32[2,4]", "f32[1]", "f32[N,1,4]", "f32[]"])
def test_other_additions_stay(apply: Any, bias: str) -> None:
    source = text("MatMul", "%y = Relu(%h)").replace("%b: f32[4]", f"%b: {bias}")
    assert not apply(fuse_bias_activation, source, takes=TAKES).changed


def test_matmul_without_bias(apply: Any) -> None:
    body = 'opset {"": 18}\ngraph g(%x: f32[3,5], %w: f32[5,2]) {\n'
    body += "  %m = MatMul(%x, %w)\n  %y = Relu(%m)\n  return %y\n}\n"
    (node,) = apply(fuse_bias_activation, body, takes=TAKES, rtol=1e-5, atol=1e-6).graph
    assert len(node.inputs) == 2 and node.attributes == {"activation": "Relu"}


def test_intermediate_that_is_used_elsewhere_stays(apply: Any) -> None:
    for after, outputs in (("%y = Relu(%h)\n%z = Neg(%h)", "%y, %z"), ("%y = Relu(%h)", "%y, %h")):
        assert not apply(fuse_bias_activation, text("Conv", after, outputs), takes=TAKES).changed


def test_nobody_takes_it(apply: Any) -> None:
    done = apply(fuse_bias_activation, text("Conv", "%y = Relu(%h)"))
    assert not done.changed and done.reasons == ["no provider takes ronn::FusedConv"]


def test_a_taker_may_be_choosy(apply: Any) -> None:
    def takes(node: Node) -> bool:
        return node.op == "FusedConv" and node.attributes["activation"] == "Relu"

    assert apply(fuse_bias_activation, text("Conv", "%y = Relu(%h)"), takes=takes, rtol=1e-5, atol=1e-5).changed
    assert not apply(fuse_bias_activation, text("Conv", "%y = Tanh(%h)"), takes=takes).changed


def test_clip_with_open_ends_and_computed_bounds(apply: Any) -> None:
    after = "%lo: f32[] = const {0.5}\n%y = Clip(%h, %lo)"
    (node,) = apply(fuse_bias_activation, text("Gemm", after), takes=TAKES, rtol=1e-5, atol=1e-5).graph
    assert node.attributes["activation_params"] == [0.5, float("inf")]
    computed = "%lo = ReduceMin(%h) {keepdims=0}\n%y = Clip(%h, %lo)"
    assert not apply(fuse_bias_activation, text("Gemm", computed), takes=TAKES).changed


def test_schemas() -> None:
    schema = find_schema("ronn", "FusedMatMul", 1)
    assert schema is not None and [f.name for f in schema.inputs] == ["A", "B", "bias"]
    assert schema.inputs[2].optional and schema.defaults["activation"] == ""
    assert find_schema("ronn", "Nothing", 1) is None
