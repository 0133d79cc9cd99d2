"""LSTM, GRU and RNN on OpenCL against the CPU provider."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from held import held
from hypothesis import given, settings
from hypothesis import strategies as st
from npu_runs import same

CLOSE = 2e-5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
ACTIVATIONS = (
    "Sigmoid", "Tanh", "Relu", "HardSigmoid", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "Elu", "Softsign",
    "Softplus", "Affine",
)  # fmt: skip
ALPHA_BETA = {"HardSigmoid": 2, "LeakyRelu": 1, "ThresholdedRelu": 1, "ScaledTanh": 2, "Elu": 1, "Affine": 2}


def _inputs(
    op: str, direction: str, steps: int, batch: int, inputs: int, hidden: int, layout: int, lengths: bool, states: bool,
    bias: bool, peepholes: bool, seed: int = 0,
) -> list[np.ndarray | None]:  # fmt: skip
    rng, d, g = np.random.default_rng(seed), DIRECTIONS[direction], GATES[op]

    def made(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    state = (batch, d, hidden) if layout else (d, batch, hidden)
    found: list[np.ndarray | None] = [
        made(batch, steps, inputs) if layout else made(steps, batch, inputs),
        made(d, g * hidden, inputs), made(d, g * hidden, hidden), made(d, 2 * g * hidden) if bias else None,
        rng.integers(1, steps + 1, batch).astype(np.int32) if lengths else None, made(*state) if states else None,
    ]  # fmt: skip
    if op == "LSTM":
        found += [made(*state) if states else None, made(d, 3 * hidden) if peepholes else None]
    return found


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    how=st.sampled_from(["alone", "vectors"]), op=st.sampled_from(sorted(GATES)),
    direction=st.sampled_from(sorted(DIRECTIONS)),
    steps=st.integers(1, 4), batch=st.integers(1, 6), inputs=st.integers(1, 9), hidden=st.integers(1, 20),
    layout=st.integers(0, 1), flags=st.tuples(*[st.booleans()] * 4), linear=st.integers(0, 1),
    coupled=st.integers(0, 1), clip=st.sampled_from([0.0, 0.7]), constant=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_of_any_size(
    how: str, op: str, direction: str, steps: int, batch: int, inputs: int, hidden: int, layout: int,
    flags: tuple[bool, ...], linear: int, coupled: int, clip: float, constant: bool, seed: int,
) -> None:  # fmt: skip
    lengths, states, bias, peepholes = flags
    operands = _inputs(
        op, direction, steps, batch, inputs, hidden, layout, lengths, states, bias, peepholes, seed
    )  # fmt: skip
    more: dict[str, Any] = {"clip": clip} if clip else {}
    more |= {"linear_before_reset": linear} if op == "GRU" else {"input_forget": coupled} if op == "LSTM" else {}
    with held(how):
        same(
            op, operands, within=CLOSE, outputs=3 if op == "LSTM" else 2, fixed=[1, 2] if constant else [],
            direction=direction, hidden_size=hidden, layout=layout, **more,
        )  # fmt: skip


@pytest.mark.parametrize("first", range(0, len(ACTIVATIONS), 4))
def test_activations(first: int) -> None:
    names = [ACTIVATIONS[(first + i) % len(ACTIVATIONS)] for i in range(6)]
    alphas = [0.4 for n in names if ALPHA_BETA.get(n, 0) >= 1]
    betas = [0.6 for n in names if ALPHA_BETA.get(n, 0) == 2]
    more: dict[str, Any] = {}
    if alphas:
        more = {"activation_alpha": alphas, "activation_beta": betas}
    operands = _inputs("LSTM", "bidirectional", 3, 2, 4, 5, 0, True, True, True, True)
    same("LSTM", operands, within=CLOSE, outputs=3, direction="bidirectional", hidden_size=5, activations=names, **more)
