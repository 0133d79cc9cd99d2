"""The lowest versions that a model needs, and what a version lacks, node by node."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

sys.path.insert(0, str(Path(__file__).parent))
from tool_models import build, convnet, info, looping, normalised, weights

import ronn
from ronn.errors import OptionError
from ronn.tools.convert import convert
from ronn.tools.versions import missing, missing_for, needs, release, releases


def ir(model):
    return ronn.load(model).ir


def one(op, inputs=("x",), opset=17, shape=(2, 2), constants=None, dtype=T.FLOAT, **attributes):
    node = h.make_node(op, list(inputs), ["y"], "the_node", **attributes)
    return ir(build([node], [info("x", shape, dtype)], [h.make_empty_tensor_value_info("y")], constants, opset))


@pytest.mark.parametrize(
    ("model", "needed"),
    [
        (one("Relu"), 1), (one("Gelu", opset=20), 20), (one("Reshape", ("x", "s"), constants={"s": np.array([4])}), 5),
        (one("Reshape", ("x", "s"), constants={"s": np.array([4])}, allowzero=0), 5),
        (one("Reshape", ("x", "s"), constants={"s": np.array([4])}, allowzero=1), 14),
        (one("Softmax", axis=1), 13), (one("ReduceSum", ("x", "a"), constants={"a": np.array([1])}), 13),
        (one("ReduceMean", axes=[1]), 1), (one("ReduceMean", axes=[-1]), 11),
        (one("BatchNormalization", ("x", "s", "s", "s", "s"), constants={"s": weights(2)}), 9),
        (one("Shape"), 1), (one("Shape", start=1), 15), (one("Add", ("x", "x")), 7),
        (one("Neg", dtype=T.INT32), 6), (one("Neg", dtype=T.BFLOAT16), 13), (one("Relu", dtype=T.INT32), 14),
        (one("Cast", to=T.FLOAT16), 6), (one("LayerNormalization", ("x", "s"), constants={"s": weights(2)}), 17),
    ],
)  # fmt: skip
def test_the_lowest_opset_of_a_node(model, needed):
    need = needs(model).opsets[""]
    assert (need.version, "'the_node'" in need.why) == (needed, True)
    assert not missing(model, needed)
    if needed > 1:
        (m,) = missing(model, needed - 1)
        assert m.node == "the_node" and m.why


@pytest.mark.parametrize("make", [convnet, looping, normalised])
def test_what_is_said_to_be_enough_is(make):
    """Restamped to the lowest opset, onnx's checker and ONNX Runtime take it (from opset 7 on)."""
    import onnxruntime

    from ronn.frontend.proto import model_to_proto

    model = ir(make())
    least = max(needs(model).opsets[""].version, 7)
    made = convert(model, opset=least)
    assert "nothing was rewritten" in made.notes[0]
    proto = model_to_proto(made.model)
    onnx.checker.check_model(proto)
    onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_whole_of_a_model():
    found = needs(ir(normalised()))
    assert found.opsets[""].version == 11  # ReduceMean with axes of -1; the others are older
    assert (found.stamped, found.stamped_ir) == ({"": 17}, 8)
    assert (found.ir.version, found.ir.why) == (4, "constants that are no inputs")
    assert (found.onnxruntime, found.onnxruntime_restamped) == ("1.12", "1.0")


def test_what_ir_versions_are_needed_for():
    assert needs(one("Identity", dtype=T.INT4, opset=21)).ir.version == 10
    function = h.make_function("mine", "F", ["a"], ["b"], [h.make_node("Neg", ["a"], ["b"])], [h.make_opsetid("", 17)])
    nodes = [h.make_node("F", ["x"], ["y"], domain="mine")]
    model = ir(build(nodes, [info("x", [3])], [info("y", [3])], functions=[function], mine=1))
    assert needs(model).ir.version == 8
    assert needs(model).own == ()


def test_releases_of_onnxruntime():
    assert [r.name for r in releases()] == sorted((r.name for r in releases()), key=lambda n: [*map(int, n.split("."))])
    for text in ("onnxruntime==1.17", "onnxruntime==1.17.3", "1.17", "onnxruntime 1.17"):
        found = release(text)
        assert (found.name, found.opset, found.ir) == ("1.17", 20, 9)
    with pytest.raises(OptionError, match="is no release"):
        release("tensorflow==2")
    with pytest.raises(OptionError, match=r"nothing is known of onnxruntime 9\.9"):
        release("9.9")


def test_limits_only_grow():
    last = releases()[0]
    for r in releases():
        assert r.opset >= last.opset and r.ml_opset >= last.ml_opset and r.ir >= last.ir
        last = r


def test_the_release_that_is_installed_is_in_the_table():
    """Its newest opset and IR are what it says itself, by refusing the next."""
    import onnxruntime

    name = ".".join(onnxruntime.__version__.split(".")[:2])
    if name not in {r.name for r in releases()}:
        pytest.skip(f"onnxruntime {name} is newer than the table")
    known = release(name)

    def loads(opset, ir_version):
        model = h.make_model(
            h.make_graph([h.make_node("Relu", ["x"], ["y"])], "g", [info("x", [1])], [info("y", [1])]),
            opset_imports=[h.make_opsetid("", opset)], ir_version=ir_version,
        )  # fmt: skip
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception:
            return False
        return True

    assert loads(known.opset, known.ir)
    assert not loads(known.opset + 1, known.ir)
    assert not loads(known.opset, known.ir + 1)


def test_what_a_release_lacks():
    model = ir(convnet())
    assert not missing_for(model, release("1.17"))
    found = missing_for(model, release("1.10"))
    assert [(m.node, m.op) for m in found] == [("the file", "")]
    assert "opset 17 of ai.onnx; the release knows up to 15" in found[0].why
    assert "`ronn convert --opset 15` restamps it" in found[0].hint
    gelu = one("Gelu", opset=20)
    gelu.metadata.ir_version = 9
    whys = [m.why for m in missing_for(gelu, release("1.14"))]
    assert whys == [
        "IR version 9; the release knows up to 8", "opset 20 of ai.onnx; the release knows up to 18",
        "opset 18 has no Gelu: it came with 20",
    ]  # fmt: skip


def test_domains_of_ones_own():
    nodes = [h.make_node("Mine", ["x"], ["y"], domain="my.domain")]
    model = ir(build(nodes, [info("x", [3])], [info("y", [3])], **{"my.domain": 1}))
    assert needs(model).own == ("my.domain",)
    assert "domain 'my.domain'" in missing_for(model, release("1.20"))[-1].why
