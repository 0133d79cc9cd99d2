"""Rounded layers as MatMulNBits: ONNX Runtime and RONN read the weights that were meant."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from bit_models import product
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from ronn.frontend.proto import model_to_proto
from ronn.model import Model
from ronn_provider_bitnet.quantize.gptq import nearest
from ronn_provider_bitnet.quantize.grids import FITS, ternary
from ronn_provider_bitnet.quantize.layers import find_layers
from ronn_provider_bitnet.quantize.planes import two_planes
from ronn_provider_bitnet.quantize.write import pack, replace


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def written(model, fit, group):
    """The model with its layer rounded, as bytes, and what the layer was rounded to."""
    ir = Model.load(model).ir
    (layer,), _ = find_layers(ir.graph, smallest=1)
    rounded = nearest(layer.w, fit, group)
    replace(ir.graph, layer, pack(rounded))
    return model_to_proto(ir).SerializeToString(), rounded


def both(model, x):
    theirs = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    session = ronn.Session(model, providers=["bitnet"])
    return theirs, session.run(x)[0], session._base.assigned()


@pytest.mark.parametrize("bits", ["1", "1.58", "2", "4", "8"])
@pytest.mark.parametrize("group", [0, 16, 64, 512])
@pytest.mark.parametrize("k", [64, 300, 1100])
def test_both_runtimes_read_the_rounded_weights(bits, group, k):
    w, x = draw((k, 24), k), draw((5, k), 1)
    model, rounded = written(product(w, quantised=False), FITS[bits], group)
    expected = x.astype(np.float64) @ rounded.values.T
    theirs, ours, _ = both(model, x)
    assert np.abs(theirs - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(ours - expected).max() < 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("group", [0, 32])
def test_two_planes_are_added(group):
    w, x, bias = draw((96, 40), 3), draw((5, 96), 4), draw(40, 5)
    gemm = h.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0)
    graph = h.make_graph(
        [gemm], "g", [h.make_tensor_value_info("x", T.FLOAT, ["M", 96])],
        [h.make_tensor_value_info("y", T.FLOAT, ["M", 40])], [nh.from_array(w, "w"), nh.from_array(bias, "b")],
    )  # fmt: skip
    given_model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8).SerializeToString()
    model, rounded = written(given_model, two_planes, group)
    expected = x @ rounded.values.T + 2 * bias
    theirs, ours, graph = both(model, x)
    assert np.abs(theirs - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(ours - expected).max() < 2e-4 * np.abs(expected).max()
    assert [n.op for n in graph].count("BitLinear") == 2


@pytest.mark.parametrize(("bits", "kept"), [("1", 1), ("1.58", 2)])
def test_ronn_keeps_one_bit_and_one_scale_a_row(bits, kept):
    model, _ = written(product(draw((1024, 32), 0), quantised=False), FITS[bits], 0)
    _, _, graph = both(model, draw((1, 1024), 1))
    (node,) = graph
    assert (node.op, node.attributes["bits"], node.attributes["group"]) == ("BitLinear", kept, 0)
    assert node.inputs[2].data.shape == (32, 1)


def test_groups_stay_groups():
    model, _ = written(product(draw((256, 32), 0), quantised=False), FITS["1"], 64)
    _, _, graph = both(model, draw((1, 256), 1))
    (node,) = graph
    assert (node.attributes["bits"], node.attributes["group"]) == (1, 64)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(2, 40), st.integers(0, 500))
def test_two_planes_are_nearer_than_one(n, k, seed):
    w = draw((n, k), seed)
    one, two = ternary(w), two_planes(w)

    def off(grid):
        return ((grid.values(grid.codes(w)) - w) ** 2).sum(axis=1)

    assert (off(two) <= off(one) * (1 + 1e-5) + 1e-9).all()
    codes = two.codes(w)
    every = np.stack([two.values(np.full_like(codes, c)) for c in range(9)])
    np.testing.assert_allclose(np.abs(two.values(codes) - w), np.abs(every - w).min(axis=0), rtol=1e-6)
