"""Models cut in two: the halves do together, to the bit, what the whole does."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).parent))
from tool_models import build, convnet, info, weights

import ronn
from ronn.errors import OptionError
from ronn.frontend.proto import model_to_proto
from ronn.tools.split import split_model

REFERENCE = ["reference"]


def same(model, at, feeds, *, providers=REFERENCE, fused=False):
    """Whether both halves give the bits of the whole, which does not fuse across the cut either unless ``fused``; gives
    the halves."""
    names = [o.name for o in model.graph.output]
    kept = () if fused else [at] if isinstance(at, str) else at
    whole = ronn.Session(model, providers).run(feeds, outputs=names, trace=[k for k in kept if k not in names])
    prefix, suffix = split_model(model, at)
    for part in (prefix, suffix):
        onnx.checker.check_model(model_to_proto(part.ir), full_check=True)
    first = ronn.Session(prefix, providers).run({i.name: feeds[i.name] for i in prefix.inputs})
    there = {**feeds, **dict(first.items())}
    second = ronn.Session(suffix, providers).run({i.name: there[i.name] for i in suffix.inputs})
    found = {**dict(first.items()), **dict(second.items())}
    for name, expected in whole.items():
        assert found[name].tobytes() == expected.tobytes(), name
    return prefix, suffix


def names(values):
    return [v.name for v in values]


X = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("providers", [["reference"], ["cpu", "reference"]], ids=lambda p: p[0])
@pytest.mark.parametrize("at", ["n", "r"])
def test_a_network_cut_anywhere(at, providers):
    model = convnet()
    prefix, suffix = same(model, at, {"x": X}, providers=providers)
    assert names(prefix.outputs) == [at] == names(suffix.inputs) and names(prefix.inputs) == ["x"]
    assert names(suffix.outputs) == [o.name for o in model.graph.output]
    assert prefix.outputs[0].dtype == suffix.inputs[0].dtype == "float"
    assert prefix.metadata.custom == {"labels": "cat,dog"}
    count = len(model.graph.node)
    assert len(prefix.graph) + len(suffix.graph) == count and len(prefix.graph) > 0 < len(suffix.graph)


def residual():
    """x -> a -> b -> c, y = c + a, z = c + x; an output beside the cut, one that both halves need an input for."""
    nodes = [
        h.make_node("MatMul", ["x", "w"], ["a"]), h.make_node("Relu", ["a"], ["b"]),
        h.make_node("MatMul", ["b", "w"], ["c"]), h.make_node("Add", ["c", "a"], ["y"]),
        h.make_node("Add", ["c", "x"], ["z"]), h.make_node("Neg", ["a"], ["early"]),
    ]  # fmt: skip
    outputs = [info("y", ["N", 4]), info("z", ["N", 4]), info("early", ["N", 4]), info("b", ["N", 4])]
    return build(nodes, [info("x", ["N", 4])], outputs, {"w": weights(4, 4)})


def test_what_else_the_suffix_needs_crosses_too():
    prefix, suffix = same(residual(), ["b"], {"x": X.reshape(-1, 4)})
    assert names(prefix.outputs) == ["b", "a"]  # b is an output of the model as well
    assert names(suffix.inputs) == ["b", "a", "x"] and names(suffix.outputs) == ["y", "z", "early"]
    assert prefix.graph.initializers["w"].data is suffix.graph.initializers["w"].data


def test_several_values_and_outputs_before_the_cut():
    prefix, suffix = same(residual(), ["c", "early"][:1], {"x": X.reshape(-1, 4)})
    assert names(prefix.outputs) == ["c", "a", "b"] and names(suffix.outputs) == ["y", "z", "early"]
    prefix, suffix = same(residual(), ["a", "c"], {"x": X.reshape(-1, 4)})
    assert names(prefix.outputs) == ["a", "c", "b"] and names(suffix.inputs) == ["a", "c", "x"]


def conditional():
    """A branch that captures a value from before the cut, one from behind it, and an initializer."""
    then = h.make_graph(
        [h.make_node("Add", ["a", "b"], ["s"]), h.make_node("Mul", ["s", "k"], ["t"])],
        "then",
        [],
        [info("t", ["N", 4])],
    )
    other = h.make_graph([h.make_node("Identity", ["b"], ["e"])], "else", [], [info("e", ["N", 4])])
    nodes = [
        h.make_node("Relu", ["x"], ["a"]), h.make_node("Abs", ["a"], ["tap"]), h.make_node("Neg", ["tap"], ["b"]),
        h.make_node("If", ["c"], ["y"], "choice", then_branch=then, else_branch=other),
    ]  # fmt: skip
    return build(nodes, [info("x", ["N", 4]), info("c", [], T.BOOL)], [info("y", ["N", 4])], {"k": weights(4)})


@pytest.mark.parametrize("condition", [True, False])
def test_branches_take_what_they_capture(condition):
    feeds = {"x": X.reshape(-1, 4), "c": np.array(condition)}
    prefix, suffix = same(conditional(), "tap", feeds)
    assert names(suffix.inputs) == ["tap", "a", "c"] and names(prefix.inputs) == ["x"]
    assert list(suffix.graph.initializers) == ["k"] and not prefix.graph.initializers


def test_functions_go_where_they_are_called():
    imports = [h.make_opsetid("", 17)]
    inner = h.make_function("own", "Inner", ["p"], ["q"], [h.make_node("Relu", ["p"], ["q"])], imports)
    imports = [*imports, h.make_opsetid("own", 1)]
    outer = h.make_function("own", "Outer", ["p"], ["q"], [h.make_node("Inner", ["p"], ["q"], domain="own")], imports)
    other = h.make_function("own", "Other", ["p"], ["q"], [h.make_node("Neg", ["p"], ["q"])], imports)
    nodes = [h.make_node("Other", ["x"], ["a"], domain="own"), h.make_node("Outer", ["a"], ["y"], domain="own")]
    model = build(nodes, [info("x", ["N"])], [info("y", ["N"])], functions=[inner, outer, other], own=1)
    prefix, suffix = same(model, "a", {"x": X.reshape(-1)})
    assert [k[1] for k in prefix.ir.functions] == ["Other"]
    assert [k[1] for k in suffix.ir.functions] == ["Inner", "Outer"]
    assert str(suffix.inputs[0].shape) == str(prefix.inputs[0].shape)  # inferred through the call


def test_nodes_without_inputs_are_constants_of_both_halves():
    nodes = [
        h.make_node("ConstantOfShape", ["size"], ["w"], value=numpy_helper.from_array(np.float32([0.5]))),
        h.make_node("RandomNormal", [], ["noise"], shape=[4], seed=1.0),
        h.make_node("Mul", ["x", "w"], ["a"]), h.make_node("Add", ["a", "noise"], ["b"]),
        h.make_node("Mul", ["b", "w"], ["c"]), h.make_node("Sub", ["c", "noise"], ["y"]),
    ]  # fmt: skip
    model = build(nodes, [info("x", ["N", 4])], [info("y", ["N", 4])], {"size": np.int64([4])})
    prefix, suffix = split_model(model, "b")
    assert names(suffix.inputs) == ["b", "noise"]  # which is another number each time
    assert all("ConstantOfShape" in [n.op for n in half.graph] for half in (prefix, suffix))
    with pytest.raises(OptionError, match="cannot be cut at 'w': it is a constant"):
        split_model(model, "w")


def test_constants_that_callers_may_override_stay_so():
    model = residual()
    model.graph.input.append(info("w", [4, 4]))
    prefix, suffix = split_model(model, "b")
    assert prefix.ir.overridable == suffix.ir.overridable == ("w",)


def test_halves_can_be_pickled_and_written():
    prefix, suffix = split_model(residual(), "b")
    for part in (prefix, suffix):
        again = pickle.loads(pickle.dumps(part))
        assert names(again.inputs) == names(part.inputs) and str(again.graph) == str(part.graph)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("early_", r"no value 'early_' to cut at\nhint: did you mean 'early'"),
        ("qqq", r"no value 'qqq' to cut at\nhint: `ronn inspect --ir`"),
        ("x", "cannot be cut at 'x': it is an input, and nothing lies before it"),
        ("w", "cannot be cut at 'w': it is a constant"),
        ("y", "cannot be cut at 'y': no output lies behind it"),
        (["early", "c"], "cannot be cut at 'early': no output lies behind it"),
        ([], "no value to cut at"),
    ],
)
def test_cuts_that_cannot_be(at, said):
    with pytest.raises(OptionError, match=said):
        split_model(residual(), at)


def test_a_value_that_another_one_covers():
    nodes = [h.make_node(op, [a], [b]) for op, a, b in (("Relu", "x", "a"), ("Neg", "a", "b"), ("Abs", "b", "y"))]
    model = build(nodes, [info("x", [2])], [info("y", [2])])
    with pytest.raises(OptionError, match="nothing behind the cut takes 'a': another value"):
        split_model(model, ["a", "b"])


def test_a_value_inside_of_a_branch():
    with pytest.raises(OptionError, match=r"'s': it is inside of a graph that If 'choice' runs\nhint: .*: y"):
        split_model(conditional(), "s")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_graph_at_any_value(data):
    """Random graphs of two-operand nodes: wherever a cut is possible, the halves give the bits of the whole."""
    count = data.draw(st.integers(2, 8))
    have = ["x", "z"]
    nodes = []
    for i in range(count):
        pair = [data.draw(st.sampled_from(have)) for _ in range(2)]
        nodes.append(h.make_node(data.draw(st.sampled_from(["Add", "Sub", "Mul"])), pair, [f"v{i}"]))
        have.append(f"v{i}")
    made = have[2:]
    outputs = data.draw(st.lists(st.sampled_from(made), min_size=1, max_size=3, unique=True))
    at = data.draw(st.lists(st.sampled_from(made), min_size=1, max_size=2, unique=True))
    model = build(nodes, [info("x", ["N"]), info("z", ["N"])], [info(o, ["N"]) for o in outputs])
    feeds = {"x": X.reshape(-1)[:5], "z": X.reshape(-1)[5:10]}
    try:
        same(model, at, feeds, fused=True)
    except OptionError as e:
        assert "cannot be cut" in str(e) or "nothing behind the cut" in str(e)
