"""LRN: a reduction over a window of channels, one call for each width that the window has at the edges."""

from __future__ import annotations

from typing import Any

from ronn_codegen.loops.nest import Nest
from ronn_codegen.loops.write import Value as Element
from ronn_codegen.lowering import F32, Lowering
from ronn_codegen.table import lower


@lower("LRN")
def lrn(c: Lowering) -> None:
    """x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta."""
    x, y = c.inputs[0], c.outputs[0]
    c.require(x is not None and y is not None and x.dtype == F32 and x.rank >= 3, "only float32, of three dims or more")
    assert x is not None and y is not None
    n, channels = x.shape[:2]
    plane = x.size // (n * channels)
    size = int(c.attr("size"))
    before, behind = (size - 1) // 2, size // 2
    factor, beta, bias = float(c.attr("alpha")) / size, float(c.attr("beta")), float(c.attr("bias"))
    start = 0
    while start < channels:
        low = max(start - before, 0)
        width = min(start + behind + 1, channels) - low
        # Channels whose whole window lies inside are one call; at the edges each has its own.
        whole = start >= before and start + behind < channels
        count = channels - behind - start if whole else 1
        nest = Nest((n, count, plane, width), 1)
        with nest.writer.each():
            near = nest.load("window", "f32", (channels * plane, plane, 1, plane))
            total = nest.writer.reduce("sum", near * near)
        with nest.writer.row():
            given = nest.load("x", "f32", (channels * plane, plane, 1, 0))
            nest.store("y", "f32", (channels * plane, plane, 1, 0), given / _power(total * factor + bias, beta))
        bound = nest.finish()
        places = {"window": x.at(low * plane * 4), "x": x.at(start * plane * 4), "y": y.at(start * plane * 4)}
        arguments = {name: places[str(key)] for name, key in bound.arrays.items()}
        elements = n * count * plane
        kernel: Any = bound.kernel
        c.call_loop(
            kernel, **arguments, **bound.sizes, chunks=max(1, elements // 1024), cost=elements * (0.1 * width + 1.5),
            flops=elements * (2 * width + 10), bytes=8 * elements,
        )  # fmt: skip
        start += count


def _power(base: Element, exponent: float) -> Element:
    """base ** exponent for a positive base."""
    if exponent == 0.75:
        root = base.do("sqrt")
        return root * root.do("sqrt")
    if exponent == 0.5:
        return base.do("sqrt")
    return base if exponent == 1.0 else (base.do("log") * exponent).do("exp")
