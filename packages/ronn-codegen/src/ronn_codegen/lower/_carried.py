"""CausalConvWithState, in float32: all but the scratch memory, which a device has of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ronn_codegen.lower._attention import floats, output
from ronn_codegen.lowering import Lowering

Scratch = Callable[[int, int, int], Mapping[str, Any]]
"""(workers, steps, taps) -> the arguments of ``causal_conv_f32`` that only some devices have."""


def causal_conv(c: Lowering, scratch: Scratch) -> None:
    """CausalConvWithState."""
    x, w, y = c.inputs[0], c.inputs[1], c.outputs[0]
    bias, past, state = c.input(2), c.input(3), output(c, 1)
    assert x is not None and w is not None
    c.require(y is not None, "the result is not used")
    assert y is not None
    floats(c, x, w, bias, past)
    activation = str(c.attr("activation", "none")).lower()
    c.require(activation in ("none", "", "silu", "swish"), f"activation {activation}")
    batch, channels, steps = x.shape
    taps = w.shape[2]
    chunks = min(batch * channels, 16)
    c.call(
        "ronn_codegen.templates.linear_attention", "causal_conv_f32", x=x, w=w, bias=0 if bias is None else bias,
        past=0 if past is None else past, y=y, state=0 if state is None else state, batch=batch, channels=channels,
        steps=steps, taps=taps, swish=int(activation in ("silu", "swish")), **scratch(chunks, steps, taps),
        chunks=chunks, cost=batch * channels * (10 + 0.1 * steps * taps), flops=2 * x.size * taps,
    )  # fmt: skip
