"""``BitConv`` in the CPU provider's chains of convolutions on channels in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ronn.ir.graph import Node, Value
from ronn.passes.deferred import DeferredPass
from ronn.passes.edit import Builder, attr
from ronn.passes.manager import Pass
from ronn.records import replace
from ronn_codegen.windows import resolve_pads
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.passes import block_ops, fuse_residual
from ronn_provider_cpu.passes.block_cost import convolution_gain
from ronn_provider_cpu.passes.block_values import Candidate, Get, Layouts

_WORDS = {"block-layout": "BitConv", "fuse-residual": "BlockedBitConv"}
_KEPT = (
    "bits", "zero", "channel_group", "planes", "least", "together", "group", "activation", "activation_params",
)  # fmt: skip


def about_bits(passes: Sequence[Pass]) -> list[Pass]:
    """Passes, those on blocks about convolutions with few bits too."""
    return [
        replace(p, about=(*p.about, _WORDS[p.name])) if isinstance(p, DeferredPass) and p.name in _WORDS else p
        for p in passes
    ]


def bit_conv(node: Node, at: Layouts) -> Candidate | None:
    """BitConv as BlockedBitConv: activations become bytes from blocks as they do from channels."""
    x, codes = node.inputs[0], node.inputs[1]
    x_shape, y_shape = at.first(x), at.first(node.output)
    if x is None or codes is None or codes.data is None or x_shape is None or y_shape is None:
        return None
    rank = codes.data.ndim - 2
    kernel = list(codes.data.shape[2:])
    strides, dilations = (list(node.attributes.get(name) or [1] * rank) for name in ("strides", "dilations"))
    pads = resolve_pads(
        attr(node, "auto_pad"), node.attributes.get("pads"), x_shape[4 - rank :], kernel, strides, dilations
    )
    if rank == 1:
        kernel, strides, dilations, pads = [1, *kernel], [1, *strides], [1, *dilations], [(0, 0), *pads]
    attributes: dict[str, Any] = {
        **{name: node.attributes[name] for name in _KEPT if name in node.attributes},
        "kernel_shape": kernel, "strides": strides, "dilations": dilations,
        "pads": [before for before, _ in pads] + [after for _, after in pads], "lanes": at.lanes,
        "channels": x_shape[1], "out_channels": y_shape[1],
    }  # fmt: skip
    gain = convolution_gain(x_shape, y_shape, plain_input=False, lanes=at.lanes)

    def make(b: Builder, get: Get) -> Sequence[Value]:
        return b.node("BlockedBitConv", [get(x), *node.inputs[1:]], attributes, domain=DOMAIN, version=1).outputs

    return Candidate(node, (x,), (node.output,), make, gain)


block_ops.add_convolution(DOMAIN, "BitConv", bit_conv)
fuse_residual.add_convolution(DOMAIN, "BlockedBitConv", bias=3, residual=5)
