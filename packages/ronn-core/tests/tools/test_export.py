"""The graph behind the passes, back as ONNX: checked, and run by RONN and by ONNX Runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper as h

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "passes"))
from test_random_graphs import Grower
from tool_models import build, convnet, feeds, info, looping, normalised, on_onnxruntime, run, written

import ronn
from ronn.errors import ModelError, OptionError
from ronn.frontend.proto import model_to_proto
from ronn.ir.graph import IRModel, Metadata
from ronn.tools.convert import convert
from ronn.tools.export import LEVELS, export

MODELS = {"convnet": convnet, "normalised": normalised, "looping": looping}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("level", LEVELS)
def test_it_runs_everywhere_and_gives_the_same(tmp_path, name, level):
    model = MODELS[name]()
    made = export(ronn.load(model).ir, level=level)
    path = written(made, tmp_path / "m.onnx")
    feed = feeds(model)
    expected = run(model, feed)
    for found in (run(path, feed), on_onnxruntime(path, feed)):
        assert list(found.keys()) == list(expected.keys())
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5)


def test_what_passes_did_is_in_the_file():
    before = ronn.load(convnet()).ir
    made = export(before)
    assert [n.op for n in made.graph] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm", "Softmax"]
    assert [n.op for n in before.graph][1] == "BatchNormalization"


def test_metadata_names_and_types_stay():
    model = convnet()
    made = export(ronn.load(model).ir)
    meta = made.metadata
    assert (meta.producer_name, meta.description, meta.version) == ("a producer", "a description", 7)
    assert meta.custom == {"labels": "cat,dog"}
    assert [str(v.type) for v in (*made.graph.inputs, *made.graph.outputs)] == ["f32[batch,3,8,8]", "f32[batch,10]"]
    assert made.opset_imports == {"": 17}


def test_fusions_need_an_opset_that_has_them():
    ir = ronn.load(normalised()).ir
    assert {"LayerNormalization", "Gelu"}.isdisjoint(n.op for n in export(ronn.load(normalised(16)).ir).graph)
    assert "LayerNormalization" in [n.op for n in export(ir).graph]
    made = export(convert(ir, opset=21).model)
    assert [n.op for n in made.graph] == ["LayerNormalization", "Gelu"]
    assert {n.version for n in made.graph} == {21}


def test_dims_can_be_fixed(tmp_path):
    model = convnet()
    made = export(ronn.load(model).ir, dimensions={"batch": 2})
    path = written(made, tmp_path / "m.onnx")
    assert [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim] == [2, 3, 8, 8]
    feed = feeds(model, 2)
    np.testing.assert_allclose(on_onnxruntime(path, feed)["y"], run(model, feed)["y"], rtol=1e-4, atol=1e-6)
    with pytest.raises(OptionError, match="no dim 'bacth'"):
        export(ronn.load(model).ir, dimensions={"bacth": 2})


def test_functions_are_put_in_place(tmp_path):
    function = h.make_function(
        "mine", "Twice", ["a"], ["b"], [h.make_node("Add", ["a", "a"], ["b"])], [h.make_opsetid("", 17)]
    )
    nodes = [h.make_node("Twice", ["x"], ["t"], domain="mine"), h.make_node("Twice", ["t"], ["y"], domain="mine")]
    model = build(nodes, [info("x", [3])], [info("y", [3])], functions=[function], mine=1)
    made = export(ronn.load(model).ir)
    path = written(made, tmp_path / "m.onnx")
    assert not made.functions and made.opset_imports == {"": 17}
    assert on_onnxruntime(path, {"x": np.ones(3, np.float32)})["y"].tolist() == [4, 4, 4]


def test_functions_of_another_opset_cannot_be_put_in_place():
    function = h.make_function(
        "mine", "Peak", ["a"], ["b"], [h.make_node("Softmax", ["a"], ["b"], axis=0)], [h.make_opsetid("", 12)]
    )
    nodes = [h.make_node("Peak", ["x"], ["y"], domain="mine")]
    model = build(nodes, [info("x", [3])], [info("y", [3])], functions=[function], mine=1)
    with pytest.raises(ModelError, match="Softmax is of version 12, where the model imports 17"):
        export(ronn.load(model).ir)


def test_other_domains_stay():
    nodes = [h.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")]
    model = build(nodes, [info("x", [3])], [info("y", [3])], **{"com.microsoft": 1})
    made = export(ronn.load(model).ir)
    assert made.opset_imports == {"": 17, "com.microsoft": 1}
    assert [n.op_id for n in made.graph] == ["com.microsoft::FastGelu"]


def test_node_names_are_told_apart(tmp_path):
    """ONNX Runtime takes no two nodes of one name; rewrites leave the name that they replace to all that they make."""
    made = export(ronn.load(convnet()).ir)
    for node in made.graph:
        node.name = "same"
    again = export(made)
    names = [n.name for n in again.graph]
    assert len(set(names)) == len(names)


def test_unknown_levels_are_told():
    with pytest.raises(OptionError, match="level='fast'"):
        export(ronn.load(convnet()).ir, level="fast")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("opset", [None, 24])
def test_random_graphs_survive(seed, opset):
    """Those of the passes' own tests; with a new opset fused operators are in the file."""
    ir = IRModel(Grower(seed).grow(20), {"": 18}, metadata=Metadata(ir_version=9))
    model = model_to_proto(ir)
    made = export(convert(ronn.load(model).ir, opset=opset).model)
    proto = model_to_proto(made)
    onnx.checker.check_model(proto)
    rng = np.random.default_rng(seed)
    feed = {n: rng.standard_normal((2, 3, 4)).astype(np.float32) for n in ("x", "y")}
    expected = run(model, feed)
    for found in (run(proto, feed), on_onnxruntime(proto.SerializeToString(), feed)):
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=2e-3, atol=2e-4)
