"""Layers rounded one after another: what comes in front is not computed again, and its errors are made up for."""

from __future__ import annotations

import digits
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from ronn.model import Model
from ronn.numerics.walk import Walk, traced
from ronn_provider_bitnet.quantize import Limits, Settings, quantize
from ronn_provider_bitnet.quantize.layers import find_layers
from ronn_provider_bitnet.quantize.sequential import made_up_for, stages
from ronn_provider_bitnet.quantize.statistics import Inputs


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def branches():
    """x -> first -> (left, right of the same input) -> sum -> last, with an If that takes a value from outside."""
    nodes = [
        h.make_node("MatMul", ["x", "w0"], ["a"], "first"), h.make_node("Tanh", ["a"], ["t"]),
        h.make_node("MatMul", ["t", "w1"], ["l"], "left"), h.make_node("MatMul", ["t", "w2"], ["r"], "right"),
        h.make_node("Add", ["l", "r"], ["s"]),
        h.make_node(
            "If", ["c"], ["i"],
            then_branch=h.make_graph([h.make_node("Mul", ["s", "a"], ["p"])], "then", [], [value("p")]),
            else_branch=h.make_graph([h.make_node("Neg", ["t"], ["n"])], "else", [], [value("n")]),
        ),
        h.make_node("MatMul", ["i", "w3"], ["y"], "last"),
    ]  # fmt: skip
    weights = [nh.from_array(draw((32, 32), i) / np.float32(6), f"w{i}") for i in range(4)]
    weights.append(nh.from_array(np.array(True), "c"))
    graph = h.make_graph(nodes, "g", [value("x", ["n", 32])], [value("y", ["n", 32])], weights)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10).SerializeToString()


def value(name, shape=None):
    return h.make_tensor_value_info(name, T.FLOAT, shape)


@pytest.mark.parametrize("memory", [0, 5000, 1 << 20])
def test_a_walk_reads_what_a_run_traces(memory):
    model = Model.load(branches())
    feeds = [{"x": draw((n, 32), n)} for n in (3, 5, 1)]
    layers, _ = find_layers(model.ir.graph, smallest=1)
    walk = Walk(model.ir, feeds, memory=memory)
    with model.create_session() as session:
        for layer in layers:
            read = list(walk.at(layer.node, [layer.x]))
            for feed, (found,) in zip(feeds, read, strict=True):
                name = layer.x.name
                expected = feed["x"] if name == "x" else session.run(feed, trace=[name])[name]
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_changes_behind_the_last_place_are_seen():
    model = Model.load(branches())
    feeds = [{"x": draw((4, 32), 9)}]
    layers = {la.name: la for la in find_layers(model.ir.graph, smallest=1)[0]}
    walk = Walk(model.ir, feeds)
    ((before,),) = walk.at(layers["left"].node, [layers["left"].x])
    layers["right"].node.set_input(1, layers["left"].node.inputs[1])
    ((after,),) = walk.at(layers["last"].node, [layers["last"].x])
    ((again,),) = traced(model.ir, [layers["last"].x], feeds)
    np.testing.assert_allclose(after, again, rtol=1e-5, atol=1e-6)
    assert before.shape == (4, 32)


def test_layers_of_a_stage_do_not_depend_on_one_another():
    layers, _ = find_layers(Model.load(branches()).ir.graph, smallest=1)
    names = [[la.name for la in stage.layers] for stage in stages(layers)]
    assert names == [["first"], ["left", "right"], ["last"]]
    assert [len(stage.layers) for stage in stages(layers, memory=1)] == [1, 1, 1, 1]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_made_up_weights_have_the_nearest_products(n, k, seed):
    r = np.random.default_rng(seed)
    x = r.standard_normal((4 * k, k))
    moved = x + 0.3 * r.standard_normal((4 * k, k))
    w = r.standard_normal((n, k)).astype(np.float32)
    inputs = Inputs(moved.T @ moved, len(x), x.T @ moved, moved.sum(axis=0))
    found = made_up_for(w, inputs, 1e-9)
    best = np.linalg.lstsq(moved, x @ w.T, rcond=None)[0].T
    np.testing.assert_allclose(found, best, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(made_up_for(w, inputs, 1e12), w, rtol=1e-5, atol=1e-6)


def test_errors_of_earlier_layers_are_made_up_for():
    train, _, test, _ = digits.data()
    known = {"data": train, "test": test, "limits": Limits(0, 0, 1)}
    for norms in (False, True):
        model, given = digits.model(norms=norms), {"bits": "1", "smallest": 1}
        one, other = (quantize(model, settings=Settings(**given, sequential=s), **known) for s in (True, False))
        assert one.report.task.sqnr_db > other.report.task.sqnr_db + 1
        assert one.report.norms == other.report.norms == (2 if norms else 0)


def test_norms_get_the_same_figures_from_sums_as_from_outputs():
    train, _, test, _ = digits.data()
    known = {"data": train, "test": test, "limits": Limits(0, 0, 1)}
    # With one layer to round there is nothing to make up for: both ways round it alike.
    given = {"bits": "1", "smallest": 1, "skip": ["layer0", "layer2"]}
    one, other = (
        quantize(digits.model(norms=True), settings=Settings(**given, sequential=s), **known) for s in (True, False)
    )
    assert one.report.norms == other.report.norms == 1
    assert one.report.task.sqnr_db == pytest.approx(other.report.task.sqnr_db, abs=0.01)
