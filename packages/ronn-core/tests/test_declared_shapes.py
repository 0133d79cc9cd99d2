"""Shapes that a file declares for what its nodes make are not believed: they are wrong in published models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn

X = np.array([[1, 0, 2], [0, 3, 4]], np.float32)


def model(nodes: list[Any], inputs: list[Any], output: Any, declared: list[Any]) -> onnx.ModelProto:
    info = h.make_tensor_value_info
    graph = h.make_graph(
        nodes, "g", [info(*i) for i in inputs], [info(*output)], value_info=[info(*d) for d in declared]
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)


CASES = {
    "as many nonzero elements as there are": (
        [
            h.make_node("NonZero", ["x"], ["n"]),
            h.make_node("Cast", ["n"], ["c"], to=T.FLOAT),
            h.make_node("Relu", ["c"], ["y"]),
        ],
        [("x", T.FLOAT, [2, 3])],
        ("y", T.FLOAT, [2, 6]),
        [("n", T.INT64, [2, 6]), ("c", T.FLOAT, [2, 6])],
        {"x": X},
        np.array(np.nonzero(X), np.float32),
    ),
    "a batch of one": (
        [h.make_node("Relu", ["x"], ["r"]), h.make_node("Neg", ["r"], ["y"])],
        [("x", T.FLOAT, ["N", 3])],
        ("y", T.FLOAT, [1, 3]),
        [("r", T.FLOAT, [1, 3])],
        {"x": X},
        -X,
    ),
    "another rank": (
        [h.make_node("Reshape", ["x", "s"], ["r"]), h.make_node("Relu", ["r"], ["y"])],
        [("x", T.FLOAT, ["N", 3]), ("s", T.INT64, ["K"])],
        ("y", T.FLOAT, [1, 5, 5]),
        [("r", T.FLOAT, [1, 5, 5])],
        {"x": X, "s": np.array([3, 2])},
        X.reshape(3, 2),
    ),
    "all rows": (
        [h.make_node("Compress", ["x", "k"], ["r"], axis=0), h.make_node("Relu", ["r"], ["y"])],
        [("x", T.FLOAT, ["N", 3]), ("k", T.BOOL, ["K"])],
        ("y", T.FLOAT, ["N", 3]),
        [("r", T.FLOAT, ["N", 3])],
        {"x": X, "k": np.array([True, False])},
        X[:1],
    ),
    "another dtype": (
        [h.make_node("Relu", ["x"], ["y"])],
        [("x", T.FLOAT, [2, 3])],
        ("y", T.INT64, [2, 3]),
        [],
        {"x": X},
        X,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("providers", [["reference"], None], ids=["reference", "default"])
def test_wrong_declarations_change_nothing(name: str, providers: list[str] | None) -> None:
    nodes, inputs, output, declared, feed, want = CASES[name]
    (got,) = ronn.Session(model(nodes, inputs, output, declared), providers=providers).run(feed)
    assert got.dtype == want.dtype and got.tolist() == want.tolist()


def test_loop_whose_value_grows() -> None:
    info = h.make_tensor_value_info
    body = h.make_graph(
        [h.make_node("Concat", ["v", "v"], ["v2"], axis=0), h.make_node("Identity", ["c"], ["go"])],
        "body",
        [info("i", T.INT64, []), info("c", T.BOOL, []), info("v", T.FLOAT, [1])],
        [info("go", T.BOOL, []), info("v2", T.FLOAT, [1])],
    )
    nodes = [h.make_node("Loop", ["n", "", "x"], ["r"], body=body), h.make_node("Relu", ["r"], ["y"])]
    made = model(nodes, [("n", T.INT64, []), ("x", T.FLOAT, [1])], ("y", T.FLOAT, [1]), [("r", T.FLOAT, [1])])
    (got,) = ronn.Session(made).run({"n": np.array(3), "x": np.ones(1, np.float32)})
    assert got.tolist() == [1] * 8


def test_session_shows_what_is_declared_where_inference_knows_nothing() -> None:
    nodes, inputs, output, declared, _, _ = CASES["another rank"]
    (y,) = ronn.Session(model(nodes, inputs, output, declared)).outputs
    assert (y.name, y.dtype, y.shape) == ("y", "float", (1, 5, 5))
