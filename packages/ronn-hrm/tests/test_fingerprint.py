"""Fingerprints differ when what is answered may differ, and else do not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
from ronn.errors import ModelError
from ronn_hrm.errors import RoutingError
from ronn_hrm.fingerprint import fingerprint, model_digest


def model(seed: int = 0, op: str = "Relu", elements: int = 2000) -> onnx.ModelProto:
    weight = np.random.default_rng(seed).standard_normal(elements).astype(np.float32)
    graph = h.make_graph(
        [h.make_node("Mul", ["x", "w"], ["m"]), h.make_node(op, ["m"], ["y"])],
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N", elements])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N", elements])],
        [numpy_helper.from_array(weight, "w")],
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)


def session(given=None, **more):
    return ronn.Session(model() if given is None else given, **{"providers": ["reference"], **more})


def test_the_same_content_has_one_fingerprint_wherever_it_comes_from(tmp_path):
    path, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(model(), path)
    onnx.save(model(), other, save_as_external_data=True, location="b.data", size_threshold=0)
    found = {fingerprint(session(s)) for s in (model(), path, other, path.read_bytes(), ronn.load(path))}
    assert len(found) == 1 and len(found.pop()) == 32


@pytest.mark.parametrize("changed", [{"seed": 1}, {"op": "Neg"}, {"elements": 2001}], ids=str)
def test_a_changed_file_has_another(tmp_path, changed):
    path = tmp_path / "m.onnx"
    onnx.save(model(), path)
    before = fingerprint(session(path))
    onnx.save(model(**changed), path)
    assert fingerprint(session(path)) != before
    onnx.save(model(), path)
    assert fingerprint(session(path)) == before


def test_one_weight_in_its_last_bit_is_another_model():
    changed = model()
    weight = numpy_helper.to_array(changed.graph.initializer[0]).copy()
    weight[1234] = np.nextafter(weight[1234], np.inf)
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    assert fingerprint(session(changed)) != fingerprint(session())


@pytest.mark.parametrize(
    "more",
    [
        {"options": {"optimization": "none"}}, {"options": {"disabled_passes": ["fuse-gelu"]}},
        {"options": {"dimensions": {"N": 1}}}, {"options": {"precision": "bf16"}},
        {"options": {"deterministic": True}}, {"providers": ["cpu", "reference"]},
    ],
    ids=str,
)  # fmt: skip
def test_what_changes_numbers_counts(more):
    assert fingerprint(session(**more)) != fingerprint(session())


def test_what_changes_no_numbers_does_not_count():
    assert fingerprint(session(options={"threads": 1, "plan_cache": 3})) == fingerprint(session())
    one, two = (session(providers=[("cpu", {"threads": n}), "reference"]) for n in (1, 2))
    assert fingerprint(one) == fingerprint(two)


def test_versions_count(monkeypatch):
    before = fingerprint(session())
    monkeypatch.setattr(ronn, "__version__", "99.0")
    assert fingerprint(session()) != before


def test_functions_of_a_model_count():
    def with_function(op: str) -> onnx.ModelProto:
        imports = [h.make_opsetid("", 18), h.make_opsetid("own", 1)]
        body = h.make_function("own", "F", ["a"], ["b"], [h.make_node(op, ["a"], ["b"])], imports[:1])
        graph = h.make_graph(
            [h.make_node("F", ["x"], ["y"], domain="own")], "g",
            [h.make_tensor_value_info("x", T.FLOAT, [2])], [h.make_tensor_value_info("y", T.FLOAT, [2])],
        )  # fmt: skip
        return h.make_model(graph, opset_imports=imports, functions=[body], ir_version=9)

    assert model_digest(ronn.load(with_function("Relu"))) != model_digest(ronn.load(with_function("Neg")))


def test_a_file_that_was_written_under_a_session_is_no_model_any_more(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(model(elements=600_000), path)
    opened = session(path)
    with path.open("r+b") as file:
        file.seek(-1000, 2)
        file.write(bytes(100))
    with pytest.raises(ModelError, match=r"m\.onnx"):
        fingerprint(opened)


def test_what_is_no_session_says_itself_what_it_is():
    class Remote:
        def run(self, inputs=None, *, outputs=None):
            return {}

    with pytest.raises(RoutingError, match=r"Remote does not say what model it is.*\nhint: .*fingerprint"):
        fingerprint(Remote())
    Remote.fingerprint = "v7"
    assert fingerprint(Remote()) == "v7"
    Remote.fingerprint = lambda self: "v8"
    assert fingerprint(Remote()) == "v8"
