"""Other opsets, IR versions and float types: what the result is, that it runs, and what is told when it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

sys.path.insert(0, str(Path(__file__).parent))
from tool_models import build, convnet, feeds, info, looping, normalised, on_onnxruntime, run, weights, written

import ronn
from ronn.errors import ModelError, OptionError
from ronn.tools.convert import convert
from ronn.tools.half import narrow_model

MODELS = {"convnet": convnet, "normalised": normalised, "looping": looping}


def ir(model):
    return ronn.load(model).ir


# --- opsets


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("opset", [13, 18, 21, 24])
def test_up_and_down(tmp_path, name, opset):
    model = MODELS[name]()
    made = convert(ir(model), opset=opset)
    path = written(made.model, tmp_path / "m.onnx")
    assert onnx.load(path).opset_import[0].version == opset
    assert {n.version for n in made.model.graph.all_nodes()} == {opset}
    feed = feeds(model)
    expected = run(model, feed)
    for found in (run(path, feed), on_onnxruntime(path, feed)):
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5)


def test_what_fits_is_restamped_and_nothing_else():
    made = convert(ir(convnet()), opset=21)
    assert made.notes == ["opset 17 -> 21: every node is there as it is, nothing was rewritten"]
    made = convert(ir(normalised()), opset=18)
    assert made.notes == ["opset 17 -> 18 by onnx's converter: 2 node(s) change (ReduceMean)"]


def test_metadata_and_large_constants_stay():
    model = normalised()
    large = weights(600)
    model.graph.initializer.append(onnx.numpy_helper.from_array(large, "large"))
    model.graph.node.append(h.make_node("ReduceMean", ["large"], ["z"], axes=[0], keepdims=0))
    model.graph.output.append(info("z", []))
    made = convert(ir(model), opset=20).model
    assert np.array_equal(made.graph.initializers["large"].data, large)
    assert [v.name for v in made.graph.inputs] == ["x"]
    assert made.metadata.custom == {"labels": "cat,dog"}
    assert (made.metadata.producer_name, made.metadata.version) == ("a producer", 7)
    assert run(made_bytes(made), feeds(model))["z"] == pytest.approx(large.mean(), abs=1e-6)


def made_bytes(model):
    from ronn.frontend.proto import model_to_proto

    return model_to_proto(model)


def test_attributes_that_say_nothing_go_down_with_it():
    """``allowzero=0`` came with opset 14, and says what leaving it out does."""
    model = build(
        [h.make_node("Reshape", ["x", "s"], ["y"], allowzero=0)],
        [info("x", [4])],
        [info("y", [2, 2])],
        {"s": np.array([2, 2])},
    )
    made = convert(ir(model), opset=9)
    assert made.notes == ["opset 17 -> 9: every node is there as it is, nothing was rewritten"]
    onnx.checker.check_model(made_bytes(made.model))


def test_the_converters_gaps_are_gone_round():
    """onnx has no way back from Shape-15, which this model need not change; ReduceSum's axes it can move."""
    nodes = [
        h.make_node("Shape", ["x"], ["s"]), h.make_node("ReduceSum", ["x", "a"], ["r"], keepdims=0),
        h.make_node("Cast", ["s"], ["f"], to=T.FLOAT), h.make_node("Add", ["r", "f"], ["y"]),
    ]  # fmt: skip
    model = build(nodes, [info("x", [1, 1])], [info("y", [2])], {"a": np.array([1])})
    made = convert(ir(model), opset=12)
    assert "by onnx's converter: 1 node(s) change (ReduceSum)" in made.notes[0]
    onnx.checker.check_model(made_bytes(made.model))
    x = np.ones((1, 1), np.float32)
    assert run(made_bytes(made.model), {"x": x})["y"].tolist() == run(model, {"x": x})["y"].tolist()


def test_what_cannot_be_converted_names_operator_and_versions():
    model = build(
        [h.make_node("LayerNormalization", ["x", "s"], ["y"], "the_norm")],
        [info("x", [2, 8])],
        [info("y", [2, 8])],
        {"s": weights(8)},
    )
    with pytest.raises(ModelError) as e:
        convert(ir(model), opset=13)
    text = str(e.value)
    assert "onnx's converter cannot bring LayerNormalization from opset 17 to 16" in text
    assert "LayerNormalization 'the_norm': opset 13 has no LayerNormalization: it came with 17" in text
    assert e.value.node_label == "the_norm" and e.value.hint


def test_opsets_that_nobody_knows():
    with pytest.raises(OptionError, match="there is no opset 99"):
        convert(ir(convnet()), opset=99)


def test_ir_versions():
    assert convert(ir(convnet()), ir=4).model.metadata.ir_version == 4
    with pytest.raises(OptionError, match="IR version 3 cannot hold the model") as e:
        convert(ir(convnet()), ir=3)
    assert "constants that are no inputs needs 4" in e.value.hint


# --- narrow floats


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("to", ["float16", "bfloat16"])
@pytest.mark.parametrize("io", [False, True])
def test_narrow_models_give_nearly_the_same(tmp_path, name, to, io):
    model = MODELS[name]()
    made = convert(ir(model), weights=to, io=io)
    path = written(made.model, tmp_path / "m.onnx")
    feed = feeds(model)
    expected = run(model, feed)
    dtype = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}[to]
    given = {n: x.astype(dtype) for n, x in feed.items()} if io else feed
    session = ronn.Session(path)
    assert {i.type.dtype.numpy for i in session.inputs} == {dtype if io else np.dtype(np.float32)}
    found = session.run(given)
    for key, value in expected.items():
        assert found[key].dtype == (dtype if io else np.float32)
        scale = np.abs(value).max()
        assert np.abs(found[key].astype(np.float32) - value).max() <= (0.02 if to == "float16" else 0.1) * scale
    if to == "float16":
        for key, value in on_onnxruntime(path, given).items():
            assert np.abs(value.astype(np.float32) - expected[key]).max() <= 0.02 * np.abs(expected[key]).max()


def test_constants_are_half_as_large_and_names_stay():
    before = ir(convnet())
    made, report = narrow_model(before, "float16")
    assert report.bytes_after * 2 == report.bytes_before > 0
    assert {str(v.data.dtype) for v in made.graph.initializers.values()} == {"float16"}
    assert (made.graph.inputs[0].name, made.graph.output_names) == ("x", ["y"])
    assert report.casts == 2
    assert all(v.data.dtype == np.float32 for v in before.graph.initializers.values())


def test_kept_operators_and_nodes_stay_wide():
    made, report = narrow_model(ir(convnet()), "float16", keep=["Softmax", "fc"])
    assert report.wide == {("Softmax", "kept in float32"): 1, ("Gemm", "kept in float32"): 1}
    softmax = next(n for n in made.graph if n.op == "Softmax")
    assert {v.dtype.numpy_name for v in (*softmax.inputs, *softmax.outputs)} == {"float32"}
    with pytest.raises(OptionError, match="no operator or node 'Sotfmax'") as e:
        narrow_model(ir(convnet()), "float16", keep=["Sotfmax"])
    assert "'Softmax'" in e.value.hint


def test_the_usual_list_can_be_taken_out_of():
    nodes = [h.make_node("CumSum", ["x", "a"], ["y"])]
    model = build(nodes, [info("x", [4])], [info("y", [4])], {"a": np.array(0)})
    assert narrow_model(ir(model), "float16")[1].wide == {("CumSum", "kept in float32"): 1}
    assert narrow_model(ir(model), "float16", keep=["-CumSum"])[1].narrow == {"CumSum": 1}


def test_operators_without_a_narrow_form_stay_wide():
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), h.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        h.make_node("Neg", ["d"], ["y"]),
    ]  # fmt: skip
    constants = {"s": np.array(0.1, np.float32), "z": np.array(3, np.int8)}
    model = build(nodes, [info("x", [4])], [info("y", [4])], constants)
    _, report = narrow_model(ir(model), "float16")
    why = "opset 17 has no float16 form"
    assert report.wide == {("QuantizeLinear", why): 1, ("DequantizeLinear", why): 1}
    _, report = narrow_model(convert(ir(model), opset=21).model, "float16")
    assert not report.wide


def test_constants_that_do_not_fit_are_told():
    nodes = [h.make_node("Add", ["x", "mask"], ["a"]), h.make_node("Mul", ["a", "tiny"], ["y"])]
    constants = {"mask": np.array([-3e38, 0, 1e5, np.inf], np.float32), "tiny": np.array([1e-9, 1, 1, 1], np.float32)}
    model = build(nodes, [info("x", [4])], [info("y", [4])], constants)
    made, report = narrow_model(ir(model), "float16")
    assert report.clamped == {"mask": 2}
    assert report.flushed == {"tiny": 1}
    (mask,) = [v.data for n, v in made.graph.initializers.items() if n.startswith("mask")]
    assert mask.tolist() == [-65504, 0, 65504, np.inf]
    assert not narrow_model(ir(model), "bfloat16")[1].clamped


def test_casts_constants_and_fills_follow():
    nodes = [
        h.make_node("Cast", ["n"], ["c"], to=T.FLOAT),
        h.make_node("Constant", [], ["k"], value_float=2.0),
        h.make_node("ConstantOfShape", ["s"], ["f"], value=onnx.numpy_helper.from_array(np.array([3], np.float32))),
        h.make_node("Sum", ["c", "k", "f"], ["t"]),
        h.make_node("Cast", ["t"], ["y"], to=T.INT64),
    ]
    model = build(nodes, [info("n", [2], T.INT64)], [info("y", [2], T.INT64)], {"s": np.array([2])})
    made, report = narrow_model(ir(model), "float16")
    assert report.casts == 0
    assert run(made_bytes(made), {"n": np.array([1, 2])})["y"].tolist() == [6, 7]
    assert {v.dtype.numpy_name for n in made.graph for v in n.outputs} == {"float16", "int64"}


def test_sequences_stay_wide():
    nodes = [
        h.make_node("Neg", ["x"], ["n"]), h.make_node("SequenceConstruct", ["n", "x"], ["q"]),
        h.make_node("ConcatFromSequence", ["q"], ["y"], axis=0),
    ]  # fmt: skip
    model = build(nodes, [info("x", [2])], [info("y", [4])])
    made, report = narrow_model(ir(model), "float16")
    assert sum(report.wide.values()) == 2 and report.narrow == {"Neg": 1}
    x = np.array([1, 2], np.float32)
    assert run(made_bytes(made), {"x": x})["y"].tolist() == [-1, -2, 1, 2]


def test_storage_alone():
    nodes = [
        h.make_node("Constant", [], ["k"], value=onnx.numpy_helper.from_array(weights(8, 16), "k")),
        h.make_node("MatMul", ["x", "k"], ["a"]), h.make_node("MatMul", ["a", "w"], ["y"]),
    ]  # fmt: skip
    model = build(nodes, [info("x", [2, 8])], [info("y", [2, 8])], {"w": weights(16, 8)})
    made, report = narrow_model(ir(model), "bfloat16", only_storage=True)
    assert (report.constants, report.casts) == (2, 2)
    assert {v.dtype.numpy_name for n in made.graph if n.op == "MatMul" for v in n.inputs} == {"float32"}
    x = weights(2, 8, scale=1)
    expected = run(model, {"x": x})["y"]
    assert np.abs(run(made_bytes(made), {"x": x})["y"] - expected).max() < 0.02 * np.abs(expected).max()


def test_unknown_types_are_told():
    with pytest.raises(OptionError, match="'float61' is no narrow type") as e:
        convert(ir(convnet()), weights="float61")
    assert "'float16'" in e.value.hint
    with pytest.raises(OptionError, match="nothing is narrowed"):
        convert(ir(convnet()), io=True)


def test_sums_of_integer_products_stay_wide_until_they_are_scaled():
    """Dynamic quantisation: sums of 8-bit products go beyond what float16 holds."""
    nodes = [
        h.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        h.make_node("MatMulInteger", ["q", "w", "z"], ["sum"]), h.make_node("Cast", ["sum"], ["f"], to=T.FLOAT),
        h.make_node("Mul", ["s", "ws"], ["scale"]), h.make_node("Mul", ["f", "scale"], ["p"]),
        h.make_node("Relu", ["p"], ["y"]),
    ]  # fmt: skip
    constants = {"w": np.full((64, 2), 120, np.int8), "ws": np.array(0.001, np.float32)}
    model = build(nodes, [info("x", [1, 64])], [info("y", [1, 2])], constants)
    made, report = narrow_model(ir(model), "float16")
    why = "sums of integers, before they are scaled"
    assert report.wide["Cast", why] == report.wide["Mul", why] == 1
    assert report.narrow == {"Mul": 1, "Relu": 1}
    x = np.linspace(0, 1, 64, dtype=np.float32)[None]
    expected = run(model, {"x": x})["y"]
    np.testing.assert_allclose(run(made_bytes(made), {"x": x})["y"], expected, rtol=0.01)


def test_nodes_with_constants_beyond_the_range_stay_wide():
    """But for masks, which may as well be the largest value."""
    variances = np.array([1e8, 4], np.float32)
    nodes = [
        h.make_node("Constant", [], ["v"], value=onnx.numpy_helper.from_array(variances)),
        h.make_node("BatchNormalization", ["x", "one", "zero", "zero", "v"], ["n"]), h.make_node("Relu", ["n"], ["y"]),
    ]  # fmt: skip
    constants = {"one": np.ones(2, np.float32), "zero": np.zeros(2, np.float32)}
    model = build(nodes, [info("x", [1, 2])], [info("y", [1, 2])], constants)
    made, report = narrow_model(ir(model), "float16")
    assert report.wide == {("BatchNormalization", "a constant is beyond what float16 holds"): 1}
    assert not report.clamped
    x = np.array([[1e4, 1]], np.float32)
    np.testing.assert_allclose(run(made_bytes(made), {"x": x})["y"], run(model, {"x": x})["y"], rtol=1e-3)


def test_the_operator_that_really_cannot_be_converted_is_named():
    """onnx's converter trips over BatchNormalization-15 first, which need not change."""
    constants = {"one": np.ones(2, np.float32), "zero": np.zeros(2, np.float32)}
    nodes = [
        h.make_node("BatchNormalization", ["x", "one", "zero", "zero", "one"], ["n"]),
        h.make_node("HardSwish", ["n"], ["y"], "the_swish"),
    ]
    model = build(nodes, [info("x", [1, 2])], [info("y", [1, 2])], constants, 15)
    with pytest.raises(ModelError, match="cannot bring HardSwish from opset 14 to 13") as e:
        convert(ir(model), opset=13)
    assert e.value.node_label == "the_swish"
    assert "--opset 14" in e.value.hint
