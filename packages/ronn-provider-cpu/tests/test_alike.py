"""Nodes that are alike share one lowering: same results, whatever they share, and each with its own constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes
from onnx import helper, numpy_helper

import ronn
from ronn_codegen import alike, lowering

RNG = np.random.default_rng(3)


def model_of(nodes: list[Any], constants: dict[str, np.ndarray], x: np.ndarray) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, x.shape)],
        [helper.make_empty_tensor_value_info(nodes[-1].output[0])],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def run(nodes: list[Any], constants: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, ronn.Session]:
    session = ronn.Session(model_of(nodes, constants, x), providers=["cpu"], options={"optimization": "none"})
    return session.run({"x": x})[0], session


def weight(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts of lowerings that were taken over."""
    counts: list[int] = []
    again = alike._again

    def counted(*args: Any) -> None:
        counts.append(1)
        again(*args)

    monkeypatch.setattr(alike, "_again", counted)
    return counts


def test_products_with_weights_of_their_own(lowered: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_VERIFY", "1")
    x, ws = weight(5, 16), [weight(16, 16) for _ in range(4)]
    nodes = [helper.make_node("MatMul", [f"h{i}" if i else "x", f"w{i}"], [f"h{i + 1}"]) for i in range(4)]
    y, session = run(nodes, {f"w{i}": w for i, w in enumerate(ws)}, x)
    expected = x
    for w in ws:
        expected = expected @ w
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert native_nodes(session) == ["MatMul"] * 4
    assert len(lowered) == 3


def test_one_value_twice_is_another_form(lowered: list[int]) -> None:
    """X @ X must not be taken for A @ B of the same shapes."""
    x, w = weight(8, 8), weight(8, 8)
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("MatMul", ["x", "x"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("MatMul", ["a", "b"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["y"]),
    ]
    y, _ = run(nodes, {"w": w}, x)
    np.testing.assert_allclose(y, x @ x @ w + x @ (x @ x), rtol=1e-4, atol=1e-3)
    assert not lowered


def test_convolutions_with_weights_and_biases_of_their_own(lowered: list[int]) -> None:
    x, ws, bs = weight(1, 16, 9, 9), [weight(16, 16, 3, 3) for _ in range(3)], [weight(16) for _ in range(3)]
    nodes = [
        helper.make_node("Conv", [f"h{i}" if i else "x", f"w{i}", f"b{i}"], [f"h{i + 1}"], pads=[1, 1, 1, 1])
        for i in range(3)
    ]
    constants = {f"w{i}": w for i, w in enumerate(ws)} | {f"b{i}": b for i, b in enumerate(bs)}
    y, _ = run(nodes, constants, x)
    assert len(lowered) >= 2
    reference = ronn.Session(model_of(nodes, constants, x), providers=["reference"]).run({"x": x})[0]
    np.testing.assert_allclose(y, reference, rtol=1e-3, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    m=st.integers(1, 40), k=st.integers(1, 40), batch=st.sampled_from([(), (1,), (3,)]), trans=st.booleans(),
    kept=st.lists(st.booleans(), min_size=3, max_size=3),
)  # fmt: skip
def test_layers_are_as_if_lowered_alone(m: int, k: int, batch: tuple[int, ...], trans: bool, kept: list[bool]) -> None:
    """Bit for bit what sessions give that lower every node by itself; constants and computed operands mixed."""
    x = weight(*batch, m, k)
    nodes, constants = [], {}
    for i, constant in enumerate(kept):
        source = f"h{i}" if i else "x"
        constants[f"w{i}"] = weight(k, k)
        right = f"w{i}"
        if not constant:
            nodes.append(helper.make_node("Abs", [right], [f"v{i}"]))
            right = f"v{i}"
        nodes.append(helper.make_node("MatMul", [source, right], [f"p{i}"]))
        nodes.append(helper.make_node("Tanh", [f"p{i}"], [f"h{i + 1}"]))
    if trans:
        axes = [*range(len(batch)), len(batch) + 1, len(batch)]
        for i in range(2):
            nodes.append(helper.make_node("Transpose", [nodes[-1].output[0]], [f"t{i}"], perm=axes))
    y, _ = run(nodes, constants, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowering, "lower_alike", lambda c, fn: fn(c))
        alone, _ = run(nodes, constants, x)
    np.testing.assert_array_equal(y, alone)
