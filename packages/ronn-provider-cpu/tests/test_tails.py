"""Models whose sizes depend on data: the tail is planned for the sizes found, and runs native."""

from __future__ import annotations

import numpy as np
import pytest
from native_support import latest_plan
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.errors import MemoryLimitError
from ronn.plan.tail import PATIENCE


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


def resizing() -> bytes:
    """An image and the size that it shall have."""
    nodes = [
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("Resize", ["e", "", "", "sizes"], ["r"], mode="linear"),
        helper.make_node("Neg", ["r"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 5, 7]),
        helper.make_tensor_value_info("sizes", TensorProto.INT64, [4]),
    ]
    return made(nodes, inputs, ["y"], {})


def test_a_few_sizes_given_as_values_are_planned_for() -> None:
    rng = np.random.default_rng(0)
    session = ronn.Session(resizing(), providers=["cpu"])
    plain = ronn.Session(resizing(), providers=[("cpu", {"kernels": "numpy"})])

    def run(n: int) -> set[str]:
        """The operators that the plans for sizes have natively, after a run for size n."""
        feed = {"x": rng.standard_normal((1, 2, 5, 7)).astype(np.float32), "sizes": np.array([1, 2, n, n + 1])}
        got, want = session.run(feed)["y"], plain.run(feed)["y"]
        assert got.shape == (1, 2, n, n + 1)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        return {n.op for p in latest_plan(session).inner[-1:] for c in p.calls if c.native is not None for n in c.nodes}

    for n in [6, 9, 6, 9, 6]:
        assert "Resize" in run(n)
    assert len(latest_plan(session).inner) == 2
    for n in range(10, 10 + PATIENCE - 2):
        assert "Resize" in run(n)
    before = len(latest_plan(session).inner)
    for n in (40, 50, 60, 40):  # too many: one plan for any of them
        assert "Resize" not in run(n)
    run(6)
    assert len(latest_plan(session).inner) == before + 1
    assert session.stats().plans == 1


@pytest.mark.parametrize("guard", ["0", "1"])
def test_sequences_of_given_values(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of several inputs, one of them omitted in places, negative and out of range."""
    monkeypatch.setenv("RONN_GUARD", guard)
    nodes = [
        helper.make_node("Slice", ["x", "starts", "ends", "", "steps"], ["s"]),
        helper.make_node("ReduceSum", ["s", "axes"], ["y"], keepdims=0),
    ]
    names = {"starts": [2], "ends": [2], "steps": [2], "axes": [1]}
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [6, 9])]
    inputs += [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in names.items()]
    session = ronn.Session(made(nodes, inputs, ["y"], {}), providers=["cpu"])
    x = np.arange(54, dtype=np.float32).reshape(6, 9)
    for _ in range(2):
        for (a, b), (c, d), (e, f), axis in (((1, 2), (5, 9), (1, 3), 0), ((-1, 0), (-9, 99), (-2, 1), -1)):
            given = {"starts": [a, b], "ends": [c, d], "steps": [e, f], "axes": [axis]}
            (y,) = session.run({"x": x, **{n: np.array(v, np.int64) for n, v in given.items()}})
            np.testing.assert_array_equal(y, x[a:c:e, b:d:f].sum(axis))
    assert len(latest_plan(session).inner) == 2


@pytest.mark.parametrize("limit", [{"max_tensor_bytes": "1MB"}, {"memory_limit": "1MB"}], ids=str)
def test_limits_hold_however_many_sizes_came_before(limit: dict[str, str]) -> None:
    """A size that hangs on a value is planned for, also behind many others."""
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, []) for n in "abc"]
    session = ronn.Session(made([helper.make_node("Range", ["a", "b", "c"], ["y"])], inputs, ["y"], {}), options=limit)

    def run(end: int) -> np.ndarray:
        return session.run([np.array(0), np.array(end), np.array(1)])[0]

    assert [len(run(n)) for n in range(1, 14)] == list(range(1, 14))
    with pytest.raises(MemoryLimitError, match=next(iter(limit))):
        run(1 << 30)
    assert len(run(20)) == 20
