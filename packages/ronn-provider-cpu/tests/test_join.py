"""Parts of a Concat are made in their places: no kernel copies them, and results are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_support import latest_plan
from onnx import helper

import ronn


def session_of(nodes: list[Any], outputs: list[str], shape: tuple[int, ...] = (1, 4, 16)) -> ronn.Session:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_empty_tensor_value_info(o) for o in outputs],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return ronn.Session(model.SerializeToString(), providers=["cpu"], options={"optimization": "none"})


def joined(session: ronn.Session) -> int:
    return sum(len(segment._lifetimes.joined) for segment in latest_plan(session).segments[:1])


def soft(source: str, to: str, axis: int = -1) -> Any:
    return helper.make_node("Softmax", [source], [to], axis=axis)


X = np.random.default_rng(0).uniform(-2, 2, (1, 4, 16)).astype(np.float32)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def test_parts_are_made_in_their_places() -> None:
    session = session_of(
        [
            soft("x", "a"),
            soft("x", "b", 1),
            helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
            soft("c", "y"),
        ],
        ["y"],
    )
    (y,) = session.run({"x": X})
    np.testing.assert_allclose(y, softmax(np.concatenate([softmax(X), softmax(X, 1)], 1)), rtol=1e-5)
    assert joined(session) == 1


@pytest.mark.parametrize("names", [["a", "a"], ["x", "a"], ["a", "x"]])
def test_parts_that_lie_elsewhere_are_copied(names: list[str]) -> None:
    """One value twice, or an input of the model: only what can be is made in place."""
    session = session_of([soft("x", "a"), helper.make_node("Concat", names, ["c"], axis=1), soft("c", "y")], ["y"])
    (y,) = session.run({"x": X})
    parts = {"a": softmax(X), "x": X}
    np.testing.assert_allclose(y, softmax(np.concatenate([parts[n] for n in names], 1)), rtol=1e-5)
    assert joined(session) == 0


def test_a_part_that_lives_on_and_an_output_of_the_model() -> None:
    session = session_of(
        [
            soft("x", "a"), soft("x", "b", 1), helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
            soft("c", "d"), helper.make_node("Concat", ["d", "a"], ["e"], axis=1), soft("a", "z", 1),
        ],
        ["e", "z"],
    )  # fmt: skip
    e, z = session.run({"x": X})
    a, b = softmax(X), softmax(X, 1)
    np.testing.assert_allclose(e, np.concatenate([softmax(np.concatenate([a, b], 1)), a], 1), rtol=1e-5)
    np.testing.assert_allclose(z, softmax(a, 1), rtol=1e-5)
    assert joined(session) == 1


def test_a_join_of_joins() -> None:
    nodes = [soft("x", "a0")]
    for i in range(5):
        nodes += [
            soft(f"a{i}", f"b{i}", 1),
            helper.make_node("Concat", [f"a{i}", f"b{i}"], [f"a{i + 1}"], axis=1),
        ]
    session = session_of([*nodes, soft("a5", "y")], ["y"])
    (y,) = session.run({"x": X})
    want = softmax(X)
    for _ in range(5):
        want = np.concatenate([want, softmax(want, 1)], 1)
    np.testing.assert_allclose(y, softmax(want), rtol=1e-5)
    assert joined(session) == 5
