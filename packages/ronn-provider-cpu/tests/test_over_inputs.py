"""Outputs that are made over inputs: caches that runs add to."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.errors import InputError

ROOM, WIDTH = 8, 4


def cache_session(*more: tuple[str, list[str], str]) -> ronn.Session:
    """present = past with new rows from ``start`` on, total = its sum, and ``more`` (operator, inputs, output)."""
    nodes = [
        helper.make_node("TensorScatter", ["past", "new", "start"], ["present"], axis=1),
        helper.make_node("ReduceSum", ["present"], ["total"], keepdims=0),
        *(helper.make_node(op, inputs, [name]) for op, inputs, name in more),
    ]
    info = helper.make_tensor_value_info
    inputs = [
        info("past", TensorProto.FLOAT, [1, ROOM, WIDTH]), info("new", TensorProto.FLOAT, [1, "steps", WIDTH]),
        info("start", TensorProto.INT64, [1]),
    ]  # fmt: skip
    outputs = [info(name, TensorProto.FLOAT, None) for name in ("present", "total", *(name for _, _, name in more))]
    weights = numpy_helper.from_array(np.ones((WIDTH, 3), np.float32), "w")
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    return ronn.Session(model.SerializeToString(), providers=["cpu"])


def test_a_cache_is_added_to_where_it_lies() -> None:
    session = cache_session()
    cache, new = np.zeros((1, ROOM, WIDTH), np.float32), np.zeros((1, 1, WIDTH), np.float32)
    start = np.zeros(1, np.int64)
    step = session.bind({"past": cache, "new": new, "start": start}, out={"present": cache})
    for i in range(3):
        new[...], start[0] = i + 1, i
        found = step()
        assert found["present"] is cache
        assert found["total"] == WIDTH * sum(range(1, i + 2))
    np.testing.assert_array_equal(cache[0, :, 0], [1, 2, 3, 0, 0, 0, 0, 0])
    more = np.full((1, 2, WIDTH), 7, np.float32)
    session.run({"past": cache, "new": more, "start": np.array([6])}, out={"present": cache})
    np.testing.assert_array_equal(cache[0, :, 0], [1, 2, 3, 0, 0, 0, 7, 7])
    assert session.stats().copies_in == session.stats().copies_out == 0


@pytest.mark.parametrize(
    "more", [("MatMul", ["past", "w"], "later"), ("Identity", ["past"], "same")], ids=["read later", "given out"]
)
def test_an_input_that_is_needed_after_stays(more: tuple[str, list[str], str]) -> None:
    cache = np.ones((1, ROOM, WIDTH), np.float32)
    feed = {"past": cache, "new": np.zeros((1, 1, WIDTH), np.float32), "start": np.zeros(1, np.int64)}
    with pytest.raises(InputError, match=r"out\['present'\] overlaps the input 'past'"):
        cache_session(more).run(feed, out={"present": cache})
    assert (cache == 1).all()


def test_memory_that_is_not_the_same_is_refused() -> None:
    memory = np.zeros((1, ROOM + 1, WIDTH), np.float32)
    feed = {"past": memory[:, :-1], "new": np.ones((1, 1, WIDTH), np.float32), "start": np.zeros(1, np.int64)}
    with pytest.raises(InputError, match="overlaps the input 'past'"):
        cache_session().run(feed, out={"present": memory[:, 1:]})
    with pytest.raises(InputError, match="overlaps the input 'new'"):
        cache_session().run({**feed, "new": memory[:, :1]}, out={"present": memory[:, :-1]})
