"""A matrix of ternary weights, whatever file it came from."""

from __future__ import annotations

import numpy as np

from ronn.errors import ModelError
from ronn.records import dataclass

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Ternary:
    """Weights ``w[n, k] = (codes[n, k] - 1) * scale`` of a layer ``y = x @ w.T + bias``.

    codes: u8[N, K] of 0, 1 and 2. scale: f32[1, 1] (one for all), [N, 1] (one a row) or [N, groups] (one for each
    ``group`` elements along K; ``group`` is 0 where there is one a row at most). bias: f32[N] or None. activations:
    bits that the layer rounds its inputs to, each row by its largest absolute value (8, as BitNet b1.58 does), or 0.
    """

    name: str
    codes: Array
    scale: Array
    group: int = 0
    bias: Array | None = None
    activations: int = 0

    def __post_init__(self) -> None:
        n, k = self.codes.shape
        groups = -(-k // self.group) if self.group else 1
        fits = self.scale.shape == (n, groups) or (groups == 1 and self.scale.shape == (1, 1))
        if not fits:
            raise ModelError(
                f"{self.name}: scales of shape {self.scale.shape} for weights {n} x {k} in groups of {self.group}"
            )
        if self.codes.size and int(self.codes.max()) > 2:
            raise ModelError(
                f"{self.name}: packed weights hold codes of 3, which stand for no ternary weight",
                hint="the file is damaged, or its tensors are packed in another order than was said",
            )
        if not np.isfinite(self.scale).all():
            raise ModelError(f"{self.name}: a scale is not a finite number")
        if self.bias is not None and self.bias.shape != (n,):
            raise ModelError(f"{self.name}: a bias of shape {self.bias.shape} for {n} rows")

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K): outputs and inputs of the layer."""
        n, k = self.codes.shape
        return n, k

    def dense(self) -> Array:
        """The weights as f32[N, K]."""
        n, k = self.codes.shape
        scale = np.broadcast_to(self.scale, (n, self.scale.shape[1]))
        wide = np.repeat(scale, self.group, axis=1)[:, :k] if self.group else scale
        return (self.codes.astype(np.float32) - np.float32(1)) * wide
