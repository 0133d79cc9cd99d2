"""Kernels whose output may be a view of an input that a node leaves out."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h

import ronn


def test_optional_without_an_input() -> None:
    tensor = h.make_tensor_type_proto(T.FLOAT, [2])
    graph = h.make_graph(
        [h.make_node("Optional", [], ["o"], type=tensor), h.make_node("OptionalHasElement", ["o"], ["y"])],
        "g",
        [],
        [h.make_tensor_value_info("y", T.BOOL, [])],
    )
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    (got,) = ronn.Session(made).run({})
    assert got.dtype == np.bool_ and not got.item()
