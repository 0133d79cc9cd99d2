"""LSTM, GRU and RNN natively against the NumPy kernels: every option, fed and constant weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, one_node, run_one

import ronn

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
NAMES = [
    "Sigmoid", "Tanh", "Relu", "HardSigmoid", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "Elu", "Softsign",
    "Softplus", "Affine",
]  # fmt: skip


def check(
    op: str, steps: int, batch: int, inputs: int, hidden: int, direction: str, rng: np.random.Generator, *,
    constant: bool = True, bias: bool = True, lengths: bool = False, initial: bool = False, peephole: bool = False,
    layout: int = 0, opset: int = 14, **attributes: Any,
) -> None:  # fmt: skip
    d, g = 2 if direction == "bidirectional" else 1, GATES[op]

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)

    first = (batch, steps, inputs) if layout else (steps, batch, inputs)
    state = (batch, d, hidden) if layout else (d, batch, hidden)
    feeds = {"x": draw(*first)}
    weights = {"w": draw(d, g * hidden, inputs), "r": draw(d, g * hidden, hidden)}
    order = ["x", "w", "r", "", "", "", "", ""]
    if bias:
        weights["b"], order[3] = draw(d, 2 * g * hidden), "b"
    if lengths:
        feeds["n"], order[4] = rng.integers(0, steps + 1, batch).astype(np.int32), "n"
    if initial:
        feeds["h"], order[5] = draw(*state), "h"
        if op == "LSTM":
            feeds["c"], order[6] = draw(*state), "c"
    if peephole:
        weights["p"], order[7] = draw(d, 3 * hidden), "p"
    while order[-1] == "":
        order.pop()
    feeds, constants = (feeds, weights) if constant else ({**feeds, **weights}, {})
    if layout:
        attributes["layout"] = 1
    model = one_node(
        op, feeds, constants=constants, order=order, outputs=3 if op == "LSTM" else 2, opset=opset,
        hidden_size=hidden, direction=direction, **attributes,
    )  # fmt: skip
    got, session = run_one(model, feeds)
    assert native_nodes(session) == [op]
    want = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"}).run(feeds)
    # Without a bound, activations that grow make cells large and what comes of them less exact.
    rtol, atol = (1e-3, 1e-4) if "activations" in attributes else (2e-5, 2e-6)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_options(data: st.DataObject) -> None:
    draw = data.draw
    op = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    attributes: dict[str, Any] = {}
    if op == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if op == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        attributes["clip"] = 0.4
    if draw(st.booleans()):
        count = FUNCTIONS[op] * (2 if direction == "bidirectional" else 1)
        attributes["activations"] = draw(st.lists(st.sampled_from(NAMES), min_size=count, max_size=count))
        if draw(st.booleans()):
            attributes["activation_alpha"] = [0.3 + 0.1 * i for i in range(count)]
            attributes["activation_beta"] = [0.6 - 0.1 * i for i in range(count)]
    sizes = [draw(st.integers(1, n)) for n in (5, 7, 9, 70)]
    check(
        op, *sizes, direction, np.random.default_rng(draw(st.integers(0, 99))), constant=draw(st.booleans()),
        bias=draw(st.booleans()), lengths=draw(st.booleans()), initial=draw(st.booleans()),
        peephole=op == "LSTM" and draw(st.booleans()), layout=draw(st.integers(0, 1)), **attributes,
    )  # fmt: skip


@pytest.mark.parametrize("level", ["avx2", "baseline"])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_narrower_machines(op: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    rng = np.random.default_rng(3)
    check(op, 4, 3, 17, 33, "bidirectional", rng, lengths=True, initial=True)
    if op == "GRU":
        check(op, 4, 6, 17, 33, "reverse", rng, linear_before_reset=1)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_usual_sizes(op: str) -> None:
    rng = np.random.default_rng(4)
    check(op, 7, 2, 128, 128, "bidirectional", rng, initial=True)
    check(op, 3, 11, 40, 96, "forward", rng)


def test_an_unknown_activation_runs_on_numpy() -> None:
    rng = np.random.default_rng(5)
    feeds = {"x": rng.normal(size=(2, 1, 3)).astype(np.float32)}
    constants = {n: rng.normal(size=(1, 4, s)).astype(np.float32) for n, s in (("w", 3), ("r", 4))}
    model = one_node("RNN", feeds, constants=constants, hidden_size=4, opset=14, activations=["Gelu"])
    _, session = run_one(model, feeds)
    assert native_nodes(session) == []
