"""Models whose sizes depend on data: the tail is planned for the sizes found, and runs native."""

from __future__ import annotations

import numpy as np
from native_support import latest_plan
from onnx import TensorProto, helper, numpy_helper

import ronn


def made(nodes: list, inputs: list, outputs: list[str], constants: dict[str, np.ndarray]) -> bytes:
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_empty_tensor_value_info(o) for o in outputs],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def chain(source: str, count: int) -> tuple[list, str]:
    nodes = []
    for i in range(count):
        nodes.append(helper.make_node("Mul" if i % 2 else "Add", [source, "one"], [f"c{i}"]))
        source = f"c{i}"
    return nodes, source


def selecting() -> bytes:
    """Rows of x that are picked by a condition, then work on them."""
    nodes = [
        helper.make_node("Greater", ["k", "zero"], ["wanted"]),
        helper.make_node("Compress", ["x", "wanted"], ["rows"], axis=0),
        helper.make_node("MatMul", ["rows", "w"], ["p"]),
    ]
    more, last = chain("p", 20)
    nodes += [*more, helper.make_node("Softmax", [last], ["y"]), helper.make_node("Shape", ["rows"], ["count"])]
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((5, 7)).astype(np.float32), "one": np.float32([1]), "zero": np.float32(0),
    }  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [9, 5]),
        helper.make_tensor_value_info("k", TensorProto.FLOAT, [9]),
    ]
    return made(nodes, inputs, ["y", "count"], constants)


def test_rows_picked_at_run_time() -> None:
    rng = np.random.default_rng(1)
    session = ronn.Session(selecting(), providers=["cpu"])
    plain = ronn.Session(selecting(), providers=["reference"])
    for seed in range(6):
        feed = {"x": rng.standard_normal((9, 5)).astype(np.float32), "k": np.float32(rng.integers(0, 2, 9))}
        if seed == 5:
            feed["k"][:] = 0
        got, want = session.run(feed), plain.run(feed)
        np.testing.assert_allclose(got["y"], want["y"], rtol=1e-5, atol=1e-6)
        assert (got["count"] == want["count"]).all()
    native = {n.op for p in latest_plan(session).all_plans() for c in p.calls if c.native is not None for n in c.nodes}
    assert any("MatMul" in op for op in native)


def test_a_length_computed_from_data_is_planned_for() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["d"], ["total"], keepdims=0),
        helper.make_node("Range", ["start", "total", "step"], ["r"]),
        helper.make_node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
    ]
    more, last = chain("f", 20)
    nodes += [*more, helper.make_node("Neg", [last], ["y"])]
    constants = {"start": np.int64(0), "step": np.int64(1), "one": np.float32([1])}
    model = made(nodes, [helper.make_tensor_value_info("d", TensorProto.INT64, ["n"])], ["y"], constants)
    session, plain = ronn.Session(model, providers=["cpu"]), ronn.Session(model, providers=["reference"])
    for d in ([1, 2], [3, 4, 5], [2, 1], [0], [1, 2]):
        feed = {"d": np.array(d, np.int64)}
        got = session.run(feed)["y"]
        assert got.shape == (sum(d),)
        np.testing.assert_allclose(got, plain.run(feed)["y"])
