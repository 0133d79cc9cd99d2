"""String columns that are encoded and put side by side become one OneHotColumns."""

from __future__ import annotations

import numpy as np
import pytest
from native_support import numpy_nodes
from onnx import TensorProto, helper, numpy_helper

import ronn

ML = "ai.onnx.ml"
CATEGORIES = [["a", "b"], ["x", "ä", "z"], ["1"]]


def encoders(sources: list[str], zeros: int) -> list[object]:
    nodes = [
        helper.make_node("OneHotEncoder", [s], [f"h{i}"], domain=ML, cats_strings=CATEGORIES[i], zeros=zeros)
        for i, s in enumerate(sources)
    ]
    return [*nodes, helper.make_node("Concat", [f"h{i}" for i in range(len(sources))], ["y"], axis=-1)]


def model(nodes: list[object], inputs: list[object], constants: dict[str, np.ndarray]) -> bytes:
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()


def strings(rows: int, width: int) -> np.ndarray:
    words = np.array(["a", "b", "x", "ä", "z", "1", "", "?"], object)
    return words[np.random.default_rng(rows).integers(0, len(words), (rows, width))]


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("picks", [[0, 1, 2], [2, 0, -1]])
def test_columns_of_one_matrix(picks: list[int], rows: int) -> None:
    gathers = [helper.make_node("Gather", ["x", f"i{i}"], [f"g{i}"], axis=1) for i in range(3)]
    data = model(
        [*gathers, *encoders(["g0", "g1", "g2"], 1)],
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["n", 3])],
        {f"i{i}": np.array([p]) for i, p in enumerate(picks)},
    )
    session = ronn.Session(data, providers=["cpu"])
    x = strings(rows, 3)
    np.testing.assert_array_equal(session.run([x])[0], ronn.Session(data, providers=["reference"]).run([x])[0])
    assert numpy_nodes(session) == ["OneHotColumns"]


@pytest.mark.parametrize("rows", [1, 6])
def test_columns_of_their_own(rows: int) -> None:
    names = ["p", "q", "r"]
    data = model(
        encoders(names, 1), [helper.make_tensor_value_info(n, TensorProto.STRING, ["n", 1]) for n in names], {}
    )
    session = ronn.Session(data, providers=["cpu"])
    x = strings(rows, 3)
    feed = {n: np.ascontiguousarray(x[:, i : i + 1]) for i, n in enumerate(names)}
    np.testing.assert_array_equal(session.run(feed)[0], ronn.Session(data, providers=["reference"]).run(feed)[0])
    assert numpy_nodes(session) == ["OneHotColumns"]


def test_columns_that_may_fail_stay() -> None:
    data = model(
        encoders(["p", "q"], 0), [helper.make_tensor_value_info(n, TensorProto.STRING, ["n", 1]) for n in "pq"], {}
    )
    session = ronn.Session(data, providers=["cpu"])
    session.run({"p": np.array([["a"]], object), "q": np.array([["z"]], object)})
    assert "OneHotColumns" not in numpy_nodes(session)
