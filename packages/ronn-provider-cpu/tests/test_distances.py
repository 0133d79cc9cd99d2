"""Distances: CDist natively and on NumPy, and the Scan that is made into it."""

from __future__ import annotations

import numpy as np
import pytest
from native_support import native_nodes, numpy_nodes, one_node, run_one
from onnx import TensorProto, helper, numpy_helper

import ronn

MS = "com.microsoft"


@pytest.mark.parametrize("level", ["native", "avx2", "baseline"])
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize("rows, points, width", [(1, 1, 1), (7, 33, 5), (4, 16, 64), (9, 130, 3)])
def test_cdist(rows: int, points: int, width: int, metric: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    rng = np.random.default_rng(rows)
    x, p = (rng.normal(size=(n, width)).astype(np.float32) for n in (rows, points))
    model = one_node("CDist", {"x": x}, constants={"p": p}, domain=MS, domains={MS: 1}, metric=metric)
    (y,), session = run_one(model, {"x": x})
    assert native_nodes(session) == ["CDist"]
    want = np.square(x[:, None].astype(np.float64) - p).sum(-1)
    want = np.sqrt(want) if metric == "euclidean" else want
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)
    (plain,) = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})]).run([x])
    np.testing.assert_allclose(plain, want, rtol=1e-5, atol=1e-6)


def scan_model(*, turned: bool, keeps_state: bool, swapped: bool = False) -> bytes:
    def value(name: str, shape: list[int | str]) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    sides = ["point", "state"] if swapped else ["state", "point"]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["state"], ["state_out"]),
            helper.make_node("Sub", sides, ["d"]),
            helper.make_node("ReduceSumSquare", ["d", "axis"], ["s"], keepdims=0),
        ],
        "body",
        [value("state", ["n", 6]), value("point", [6])],
        [value("state_out", ["n", 6]), value("s", ["n"])],
        [numpy_helper.from_array(np.array([1]), "axis")],
    )
    points = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    nodes = [helper.make_node("Scan", ["x", "points"], ["last", "d"], body=body, num_scan_inputs=1)]
    nodes += [helper.make_node("Transpose", ["d"], ["y"], perm=[1, 0])] if turned else []
    outputs = [value("y" if turned else "d", ["n", 20] if turned else [20, "n"])]
    outputs += [value("last", ["n", 6])] if keeps_state else []
    graph = helper.make_graph(nodes, "g", [value("x", ["n", 6])], outputs, [numpy_helper.from_array(points, "points")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_a_scan_over_points_becomes_cdist(turned: bool, swapped: bool) -> None:
    model = scan_model(turned=turned, keeps_state=False, swapped=swapped)
    session = ronn.Session(model, providers=["cpu"])
    for n in (1, 5):
        x = np.random.default_rng(n).normal(size=(n, 6)).astype(np.float32)
        (y,) = session.run([x])
        (want,) = ronn.Session(model, providers=["reference"]).run([x])
        np.testing.assert_allclose(y, want, rtol=1e-5)
    assert native_nodes(session)[:1] == ["CDist"] and "Scan" not in numpy_nodes(session)


def test_a_scan_whose_state_is_used_stays() -> None:
    session = ronn.Session(scan_model(turned=False, keeps_state=True), providers=["cpu"])
    session.run([np.ones((2, 6), np.float32)])
    assert "CDist" not in native_nodes(session)
