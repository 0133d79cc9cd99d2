"""Plans of convolutions whose input and weights are words of two neighbouring channels, for the kernel ``conv_bf16``.

The input is ``[N, C/L, D, H, W, L/2]``, packed weights are ``[channel block][d][r][s][L/2][block][L]``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn.cached import cached_property
from ronn.records import dataclass, replace
from ronn_codegen.aligned import aligned_empty
from ronn_codegen.templates.conv_plan import BLOCKED, ConvPlan, Group, ceil_div

_OF_INPUT = ("x_plane", "x_deep", "x_down", "x_tap", "x_step", "x_image", "x_slice", "x_row", "x_column")
_ROUNDING = 0.4  # cycles to round an element of the input, of a core that does a multiply-add of vectors each cycle


@dataclass(frozen=True)
class PairPlan(ConvPlan):
    """A convolution on blocked channels, whose input has half as many bytes as that of ``ConvPlan``."""

    @property
    def inner(self) -> int:
        return self.lanes // 2

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        return tuple(replace(group, last_lanes=ceil_div(group.last_lanes, 2)) for group in super().groups)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        sizes = super()._sizes
        return sizes | {name: sizes[name] // 2 for name in _OF_INPUT}

    @property
    def wide(self) -> ConvPlan:
        """The same convolution in float32."""
        return ConvPlan(self.shape, self.lanes, self.pixels)

    @property
    def input_elements(self) -> int:
        """Elements of the blocked input."""
        d, h, w = self.shape.size
        return self.shape.n * self.channel_blocks * d * h * w * self.lanes

    def pack(self, packed: np.ndarray, row_pairs: Callable[..., None]) -> np.ndarray:
        """Words (int32) from weights packed for ``wide``; ``row_pairs`` is the kernel ``bf16_row_pairs``."""
        out = aligned_empty((self.packed_size,), np.int32)
        for group in self.groups:
            rows, columns = group.channel_blocks * self.taps * self.lanes, group.blocks * self.lanes
            source, to = packed.ctypes.data + 8 * group.weights, out.ctypes.data + 4 * group.weights
            row_pairs(source, to, rows, columns, 1, columns, 0, 0)
        return out


def direct_cycles(plan: ConvPlan) -> float:
    """An estimate of a convolution as it is defined, for one core that does a multiply-add of vectors each cycle."""
    return plan.shape.flops / 2 / plan.lanes


def pairs(plan: ConvPlan, other: float) -> PairPlan | None:
    """The plan in words where it takes less than ``other`` cycles, else None."""
    if plan.kind != BLOCKED or any(plan.y_steps):
        return None
    made = PairPlan(plan.shape, plan.lanes, plan.pixels)
    return made if direct_cycles(plan) / 2 + _ROUNDING * made.input_elements < 0.9 * other else None
