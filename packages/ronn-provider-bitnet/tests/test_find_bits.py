"""Which products become BitLinear, and what with."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from bit_models import product, weights
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from ronn_provider_bitnet.passes.find_bits import find


def bit_nodes(model: bytes) -> list:
    s = ronn.Session(model, providers=["bitnet"])
    s.run(np.ones((2, s.inputs[0].shape[1]), np.float32))
    return [n for n in s._base.assigned() if n.op == "BitLinear"]


@pytest.mark.parametrize(("zeros", "bits"), [(True, 2), (False, 1)])
@pytest.mark.parametrize("group", [0, 256, 128, 64, 32])
def test_codes_of_a_matrix(zeros, bits, group):
    w = weights(512, 33, zeros=zeros, group=group).T.copy()
    found = find(w)
    assert (found.bits, found.group) == (bits, group)
    signs = found.codes.astype(np.int64) - 1 if bits == 2 else 2 * found.codes.astype(np.int64) - 1
    width = group if group else 512
    np.testing.assert_array_equal(signs * np.repeat(found.scale, width, axis=1), w)


def test_other_matrices_are_left_alone():
    w = weights(64, 33, zeros=True).T.copy()
    w[3, 5] *= np.float32(1.001)
    assert find(w) is None
    w = weights(64, 33, zeros=True).T.copy()
    w[0, 0] = np.nan
    assert find(w) is None
    assert find(np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)) is None


def test_rounding_of_float32_is_forgiven():
    w = weights(64, 33, zeros=True).T.copy()
    w[:, ::2] = np.nextafter(w[:, ::2], np.float32(0))
    assert find(w) is not None


@pytest.mark.parametrize("form", ["mul", "div"])
def test_the_quantiser_in_front_is_taken_in(form):
    (node,) = bit_nodes(product(weights(128, 64, zeros=True), quantised=True, form=form))
    assert node.attributes["planes"] == 1
    assert node.attributes["least"] == pytest.approx(1e-5)
    assert node.inputs[0].name == "x"


def test_without_a_quantiser_activations_keep_16_bits():
    (node,) = bit_nodes(product(weights(128, 64, zeros=True), quantised=False))
    assert node.attributes["planes"] == 2


def test_two_products_share_one_quantiser():
    model = onnx.load_from_string(product(weights(128, 64, zeros=True), quantised=True))
    graph = model.graph
    graph.initializer.append(nh.from_array(weights(128, 48, zeros=False, seed=5), "v"))
    graph.node.append(h.make_node("MatMul", ["q", "v"], ["z"]))
    graph.output.append(h.make_tensor_value_info("z", T.FLOAT, ["M", 48]))
    found = bit_nodes(model.SerializeToString())
    assert [n.attributes["planes"] for n in found] == [1, 1]
    assert all(n.inputs[0].name == "x" for n in found)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_with_bias_and_activation(transposed):
    w = weights(96, 40, zeros=True)
    given = w.T.copy() if transposed else w
    bias = np.linspace(-1, 1, 40).astype(np.float32)
    graph = h.make_graph(
        [h.make_node("Gemm", ["x", "w", "b"], ["g"], transB=transposed), h.make_node("Relu", ["g"], ["y"])], "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["M", 96])], [h.make_tensor_value_info("y", T.FLOAT, ["M", 40])],
        [nh.from_array(given, "w"), nh.from_array(bias, "b")],
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9).SerializeToString()
    (node,) = bit_nodes(model)
    assert node.attributes["activation"] == "Relu"
    x = np.random.default_rng(0).standard_normal((5, 96)).astype(np.float32)
    y = ronn.Session(model, providers=["bitnet"]).run(x)[0]
    expected = np.maximum(x @ w + bias, 0)
    assert np.abs(y - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_whole_model_is_one_native_call():
    s = ronn.Session(product(weights(128, 64, zeros=True), quantised=True), providers=["bitnet"])
    s.run(np.ones((2, 128), np.float32))
    placement = s.placement()
    assert {row.provider for row in placement.rows} == {"bitnet"}
    (plan,) = [p for _, p in s._base.plans()]
    assert len(plan.steps) == 1 and len(plan.segments) == 1


def test_weights_in_memory_are_those_of_the_codes():
    k = n = 1024
    model = product(weights(k, n, zeros=True), quantised=True)
    with ronn.Session(model, providers=["bitnet"]) as s:
        s.run(np.ones((1, k), np.float32))
        memory = s.memory()
        assert memory.packed < 4 * k * n / 15.5
