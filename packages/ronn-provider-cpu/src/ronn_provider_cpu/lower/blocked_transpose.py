"""Transposed convolutions on channels in blocks."""

from __future__ import annotations

from ronn_codegen.templates.conv_phases import Transposed, phases
from ronn_codegen.templates.conv_plan import pixels_of
from ronn_provider_cpu.lower.conv import _convolve, three
from ronn_provider_cpu.lowering import F32, Lowering, lower
from ronn_provider_cpu.ops import DOMAIN


@lower("BlockedConvTranspose", domain=DOMAIN)
def blocked_conv_transpose(c: Lowering) -> None:
    x, w, bias, y = c.input(0), c.input(1), c.input(2), c.outputs[0]
    assert x is not None and w is not None and y is not None
    c.require(x.dtype == F32, "only float32")
    lanes = int(c.attr("lanes"))
    width = c.machine.target.lanes(32)
    c.require(lanes == width, f"blocks of {lanes} channels on a machine with {width} lanes")
    shape = Transposed(
        x.shape[0], int(c.attr("channels")), int(c.attr("out_channels")), three(x.shape[2:4], 1),
        three(c.attr("kernel_shape"), 1), three(c.attr("output_size"), 1), three(c.attr("strides"), 1),
        three(c.attr("begins"), 0), three(c.attr("dilations"), 1), int(c.attr("group")),
    )  # fmt: skip
    for phase in phases(shape, lanes, pixels_of(c.machine.target)):
        _convolve(c, phase.plan, x, w, bias, y.at(4 * lanes * phase.first), "", (), phase=phase)
