"""What the lowerings of LSTM, GRU and RNN share on every device: sizes, strides, activations. In float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_codegen.lowering import F32, I32, Lowering, Operand
from ronn_codegen.templates.recurrent_layout import ACTIVATIONS

ARITY = {
    "affine": 2, "leakyrelu": 1, "thresholdedrelu": 1, "scaledtanh": 2, "hardsigmoid": 2, "elu": 1,
}  # fmt: skip
"""How many parameters each activation takes (alpha, beta): recurrent operators hand them out in order."""

_DEFAULTS = {"hardsigmoid": (0.2, 0.5), "leakyrelu": (0.01, 0.0), "elu": (1.0, 0.0), "affine": (1.0, 0.0)}


@dataclass
class Layer:
    """A layer: x[steps, batch, inputs] (batch first: [batch, steps, inputs]) to ``directions`` times ``hidden`` units
    of so many gates. acts: the table of activations, int64 words of number, alpha, beta; plain: the default ones, and
    no bound ``clip``."""

    c: Lowering
    gates: int
    steps: int
    batch: int
    inputs: int
    hidden: int
    directions: int
    batch_first: bool
    clip: float
    acts: np.ndarray
    plain: bool

    def strides(self) -> dict[str, int]:
        """In elements: of a step, a direction and a row of Y, and of a direction and a row of a state."""
        d, hidden = self.directions, self.hidden
        if self.batch_first:
            return {"y_t": d * hidden, "y_d": hidden, "y_b": self.steps * d * hidden, "s_d": hidden, "s_b": d * hidden}
        return {
            "y_t": d * self.batch * hidden, "y_d": self.batch * hidden, "y_b": hidden, "s_d": self.batch * hidden,
            "s_b": hidden,
        }  # fmt: skip

    def lengths(self) -> Operand | None:
        """The operand of the sequences' lengths; None where all are whole."""
        given = self.c.input(4)
        if given is not None and given.data is not None and bool((given.data == self.steps).all()):
            return None
        return given

    @property
    def backwards(self) -> int:
        """A bit for each direction that runs from the last step to the first."""
        return {"forward": 0, "reverse": 1, "bidirectional": 2}[_direction(self.c)]


def or_zero(given: Operand | None) -> Operand | int:
    """An operand, or 0 where there is none."""
    return 0 if given is None else given


def output(c: Lowering, index: int) -> Operand | None:
    """An output; None where it is beyond the last or nobody wants it."""
    return c.outputs[index] if index < len(c.outputs) else None


def _direction(c: Lowering) -> str:
    return str(c.attr("direction", "forward")).lower()


def sizes_of(c: Lowering, gates: int, defaults: tuple[str, ...]) -> dict[str, Any]:
    """The fields of the ``Layer`` of a node whose first inputs are X, W, R, B, sequence_lens and initial_h."""
    x, w, r = c.inputs[:3]
    assert x is not None and w is not None and r is not None
    for given in c.inputs:
        c.require(given is None or given.dtype in (F32, I32), f"only float32, not {given and given.dtype}")
    directions, hidden = r.shape[0], r.shape[2]
    c.require(
        w.shape[1] == gates * hidden and directions == (2 if _direction(c) == "bidirectional" else 1), "odd shapes"
    )
    batch_first = bool(c.attr("layout", 0))
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    clip = c.attr("clip")
    limit = math.inf if clip is None or clip <= 0 else float(clip)
    acts, plain = _activations(c, defaults, directions)
    return {
        "c": c, "gates": gates, "steps": steps, "batch": batch, "inputs": x.shape[2], "hidden": hidden,
        "directions": directions, "batch_first": batch_first, "clip": limit, "acts": acts,
        "plain": plain and limit == math.inf,
    }  # fmt: skip


def _activations(c: Lowering, defaults: tuple[str, ...], directions: int) -> tuple[np.ndarray, bool]:
    """The table of activations (int64 words of number, alpha, beta), and whether they are the defaults."""
    names = c.attr("activations")
    needed = list(defaults) * directions
    names = [n.lower() for n in names][: len(needed)] if names else needed
    alphas, betas = list(c.attr("activation_alpha", [])), list(c.attr("activation_beta", []))
    c.require(len(names) == len(needed), "not as many activations as gates need")
    table = np.zeros((len(names), 3), np.int64)
    for i, name in enumerate(names):
        c.require(name in ACTIVATIONS, f"activation {name}")
        arity = ARITY.get(name, 0)
        alpha, beta = _DEFAULTS.get(name, (1.0, 1.0))
        given = arity >= 1 and bool(alphas)
        if given:
            alpha = alphas.pop(0)
        if arity == 2 and betas:
            second = betas.pop(0)
            beta = second if given else beta
        bits = np.array([alpha, beta], np.float32).view(np.uint32)
        table[i] = ACTIVATIONS.index(name), *bits
    return table, names == needed
