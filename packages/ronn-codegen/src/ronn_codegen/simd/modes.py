"""Numbers of the activations that kernels apply to their results. Imports no compiler."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE, CLAMP = 0, 1
NAMES = (  # from CLAMP on
    "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Silu", "Gelu", "GeluTanh", "Softplus", "Elu",
)  # fmt: skip
_NUMBERS = {"": NONE, **{name: i for i, name in enumerate(NAMES, CLAMP)}}


def mode_of(activation: str, params: Sequence[float] = ()) -> tuple[int, float, float]:
    """The number of an activation (those of ``ronn.ops.fused``) and its two parameters. KeyError for another name."""
    if activation == "Relu":
        return CLAMP, 0.0, math.inf
    p0, p1 = [*map(float, params), 0.0, 0.0][:2]
    return _NUMBERS[activation], p0, p1
