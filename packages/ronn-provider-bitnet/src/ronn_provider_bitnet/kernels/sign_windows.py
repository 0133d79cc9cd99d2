"""The geometry of convolutions of signs (``kernels.xnor_conv``): where windows lie, and what their padding is worth.
Imports no compiler.

Activations are words of channels, ``[planes, N, height, width, 2 * pairs]``, in which the padding that windows reach is
there, with bits of 0, as if it were 1. What it adds to a sum by that comes off again: windows that reach as far beyond
the edges are a *class*, whose sum without a difference is known for every output.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ronn.cached import cached_property
from ronn.records import dataclass
from ronn_provider_bitnet.kernels.sign_layout import pairs_of

Array = np.ndarray
WORDS = 18  # of a plan
_STRIP = 64  # output pixels that are computed before they are put where they belong


@dataclass(frozen=True)
class Windows:
    """A convolution of ``x[n, channels, size]`` to ``outputs`` channels; pairs are (rows, columns)."""

    n: int
    channels: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    out: tuple[int, int]

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of what windows reach."""
        high, wide = (
            (o - 1) * s + (k - 1) * d + 1
            for o, s, k, d in zip(self.out, self.strides, self.kernel, self.dilations, strict=True)
        )
        return high, wide

    @property
    def pixel_bytes(self) -> int:
        return 8 * pairs_of(self.channels)

    @property
    def plane_bytes(self) -> int:
        high, wide = self.padded
        return self.n * high * wide * self.pixel_bytes

    @property
    def lines(self) -> int:
        """Output rows of a strip."""
        return max(1, min(self.out[0], _STRIP // self.out[1]))

    @property
    def strips(self) -> int:
        """Strips of an image."""
        return -(-self.out[0] // self.lines)

    @property
    def products(self) -> int:
        kernel, out = self.kernel[0] * self.kernel[1], self.out[0] * self.out[1]
        return self.n * self.channels * self.outputs * kernel * out

    @cached_property
    def plan(self) -> Array:
        """What kernels take: int64[WORDS]."""
        words = [
            self.n, self.channels, self.outputs, *self.size, *self.kernel, *self.strides, *self.dilations, *self.before,
            *self.out, *self.padded, self.lines,
        ]  # fmt: skip
        return np.array(words, np.int64)

    @cached_property
    def segments(self) -> Array:
        """int64: where neighbouring words of a window begin, in bytes."""
        rows = np.arange(self.kernel[0]) * self.dilations[0] * self.padded[1] * self.pixel_bytes
        if self.dilations[1] == 1:
            return rows.astype(np.int64)
        columns = np.arange(self.kernel[1]) * self.dilations[1] * self.pixel_bytes
        return (rows[:, None] + columns).reshape(-1).astype(np.int64)

    @property
    def steps(self) -> int:
        """Pairs of words of a segment."""
        return self.kernel[0] * self.kernel[1] * pairs_of(self.channels) // len(self.segments)

    def _inside(self, axis: int) -> tuple[Array, Array]:
        """bool[kinds, taps] along an axis: which taps lie in the input; int64[out]: the kind of each output."""
        outs, taps = np.arange(self.out[axis]), np.arange(self.kernel[axis])
        at = outs[:, None] * self.strides[axis] + taps * self.dilations[axis] - self.before[axis]
        kinds, number = np.unique((at >= 0) & (at < self.size[axis]), axis=0, return_inverse=True)
        return kinds, number.reshape(-1)

    @property
    def classes(self) -> int:
        return len(self._inside(0)[0]) * len(self._inside(1)[0])

    def sums(self, codes: Array, outputs: int) -> Array:
        """int32[classes, outputs]: of weights uint8[N, C, kH, kW], what a window's sum is where no bit differs, less
        what its padding adds."""
        negative = (codes == 0).sum(axis=1, dtype=np.int64)
        rows, columns = self._inside(0)[0], self._inside(1)[0]
        inside = rows[:, None, :, None] & columns[None, :, None, :]
        flat = inside.reshape(-1, inside.shape[2] * inside.shape[3])
        out = np.zeros((len(flat), outputs), np.int64)
        beyond = (~flat).astype(np.int64) @ negative.reshape(len(negative), -1).T
        out[:, : len(negative)] = self.channels * flat.sum(axis=1, dtype=np.int64)[:, None] + 2 * beyond
        return out.astype(np.int32)

    def class_bytes(self, outputs: int) -> Array:
        """int32[out rows, out columns]: where the sums of each output's class begin, in bytes."""
        (_, row), (columns, column) = self._inside(0), self._inside(1)
        return ((row[:, None] * len(columns) + column) * 4 * outputs).astype(np.int32)


def windows(
    x: Sequence[int], codes: Sequence[int], y: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> Windows:  # fmt: skip
    """Of the shapes of a convolution with one or two spatial axes; one axis is a row."""

    def two(values: Sequence[int], fill: int) -> tuple[int, int]:
        filled = [*[fill] * (2 - len(values)), *map(int, values)]
        return filled[0], filled[1]

    return Windows(
        x[0], x[1], codes[0], two(x[2:], 1), two(codes[2:], 1), two(strides, 1), two(dilations, 1),
        two([before for before, _ in pads], 0), two(y[2:], 1),
    )  # fmt: skip
