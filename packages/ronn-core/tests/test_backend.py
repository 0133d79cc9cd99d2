"""The ``onnx.backend.base`` interface."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ronn.compat import backend
from ronn.errors import RonnError


def add_model(ir_version: int) -> onnx.ModelProto:
    """y = x + w, with the initializer w listed among the inputs, before x, as IR version 3 wants."""
    w = helper.make_tensor("w", TensorProto.FLOAT, [2], [10.0, 20.0])
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("w", "x")]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", infos, [out], [w])
    return helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", 8)])


@pytest.mark.parametrize("ir_version", [3, 8])
def test_feeds_inputs_that_are_not_initializers(ir_version: int) -> None:
    rep = backend.prepare(add_model(ir_version), "CPU", providers=["reference"])
    (y,) = rep.run([np.array([1, 2], np.float32)])
    np.testing.assert_array_equal(y, [11, 22])


def test_run_model_takes_a_mapping() -> None:
    (y,) = backend.run_model(add_model(8), {"x": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(y, [10, 20])


def test_run_node() -> None:
    node = helper.make_node("Concat", ["a", "b"], ["c"], axis=0)
    (c,) = backend.run_node(node, [np.zeros(2, np.int64), np.ones(1, np.int64)])
    np.testing.assert_array_equal(c, [0, 0, 1])


def test_run_node_of_an_old_opset() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"])
    (y,) = backend.run_node(node, [np.zeros((1, 2, 2), np.float32)], opset_version=9)
    np.testing.assert_allclose(y, np.full((1, 2, 2), 0.25))


def test_run_node_counts_inputs() -> None:
    with pytest.raises(RonnError, match="takes 2 inputs, got 1"):
        backend.run_node(helper.make_node("Add", ["a", "b"], ["c"]), [np.zeros(1)])


def test_devices() -> None:
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(RonnError, match="not supported"):
        backend.prepare(add_model(8), "CUDA")


def test_is_compatible() -> None:
    assert backend.is_compatible(add_model(8))
    unknown = add_model(8)
    unknown.graph.node[0].op_type = "NoSuchOperator"
    assert not backend.is_compatible(unknown)
