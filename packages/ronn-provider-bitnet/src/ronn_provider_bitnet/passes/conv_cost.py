"""Where few bits make a convolution faster than float32: estimates of both times on one core, whose ratio counts.

The rates are those of ``python -m benchmarks.bitnet_conv``, which prints what these estimates say beside what it
measures.
"""

from __future__ import annotations

import math

from ronn.records import dataclass
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.conv_plan import ConvPlan, ConvShape, pixels_of
from ronn_codegen.templates.winograd_plan import winograd
from ronn_provider_bitnet.kernels.conv_layout import Window, panels, segments


@dataclass(frozen=True)
class Rates:
    """Of one core, in a nanosecond: multiplications of a direct float32 convolution; cycles of Winograd's algorithm, as
    ``WinogradPlan.cycles`` counts them; multiplications of bytes."""

    direct: float
    winograd: float
    bytes: float


RATES = {
    "dots": Rates(direct=52, winograd=4.0, bytes=222),  # vectors of 512 bits with dots of bytes
    "pairs": Rates(direct=35, winograd=4.0, bytes=120),
    "baseline": Rates(direct=7, winograd=3.1, bytes=24),
}
# Nanoseconds of a float that becomes bytes, for each plane and besides; and of one that goes out.
_PLANE, _FLOAT, _OUTPUT = 0.07, 0.12, 0.12


def float_time(window: Window, target: Target) -> float:
    """Nanoseconds in float32 on channels in blocks."""
    lanes, (top, left, bottom, right) = target.lanes(32), window.pads
    shape = ConvShape(
        window.n, window.channels, window.filters, (1, *window.size), (1, *window.kernel), (1, *window.strides),
        (0, top, left, 0, bottom, right), (1, *window.dilations), window.group,
    )  # fmt: skip
    tiles = winograd(ConvPlan(shape, lanes, pixels_of(target)))
    if tiles is not None:
        return tiles.cycles / _rates(target).winograd
    each, filters = window.channels // window.group, window.filters // window.group
    whole = window.group * -(-filters // lanes) * lanes
    return window.n * math.prod(window.out) * whole * each * math.prod(window.kernel) / _rates(target).direct


def bit_time(window: Window, bits: int, planes: int, target: Target) -> float:
    """Nanoseconds with weights of ``bits`` bits, on channels in blocks, activations of ``planes`` bytes."""
    lanes, filters = target.lanes(32), window.filters // window.group
    each = segments(window, 0, window.channels // window.group, False, bits)
    whole = window.group * sum(-(-count // (v * lanes)) * v * lanes for _, count, v in panels(filters, target))
    pixels, floats = window.n * math.prod(window.out), window.n * math.prod(window.size) * window.channels
    products = pixels * whole * each.count * each.codes
    more = floats * (_FLOAT + _PLANE * planes) + pixels * window.filters * _OUTPUT
    return planes * products / _rates(target).bytes + more * 16 / lanes


def _rates(target: Target) -> Rates:
    if target.int8_dot:
        return RATES["dots"]
    return RATES["pairs" if target.bits >= 256 else "baseline"]
