"""Convolutions with weights of one and two bits: ``BitConv`` and ``BlockedBitConv`` of the ``ronn.bitnet`` domain.

``BitConv(x, codes, scale, bias?, offset?)``: ``activation(conv(q(x), w) + bias)`` of float32 ``x[N, C, W]`` or ``x[N,
C, H, W]``, codes u8[M, C / group, kernel...] (below ``2 ** bits``), float32 ``scale[M, groups]`` for groups of
``channel_group`` channels (0: one group) or ``scale[M, groups, kernel...]``, bias ``[M]``. ``w`` is what it is for
``BitLinear``: ``(code - zero) * scale``, ``code * scale + offset`` where there is an ``offset`` (of the scale's shape),
or ``(2 * code - 1) * scale`` with one bit. auto_pad, pads, strides, dilations and group are those of ``Conv``,
activation and activation_params those of ``ronn::FusedConv``.

``q`` rounds each image to ``planes`` signed bytes as ``BitLinear`` rounds each row, with one scale for an image, or for
all of them with ``together``. Images with a NaN or an infinity become NaN.

``BlockedBitConv(x, codes, scale, bias?, offset?, residual?)`` is the same on channels in blocks (see
``ronn_provider_cpu.ops``, whose ``BlockedConv`` has the attributes that are not explained here).
"""

from __future__ import annotations

from typing import Any

from ronn.ops.infer import InferContext, infer_as, rule
from ronn.ops.schema import Formal, OpSchema, register_schema
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.ops import blocked_conv

_FLOAT = "tensor(float)"
_INPUTS = (
    Formal("x", _FLOAT), Formal("codes", "tensor(uint8)"), Formal("scale", _FLOAT),
    Formal("bias", _FLOAT, optional=True), Formal("offset", _FLOAT, optional=True),
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "zero": 1, "channel_group": 0, "planes": 1, "least": 1e-5, "together": 0, "group": 1, "activation": "",
    "activation_params": [],
}  # fmt: skip
_ATTRIBUTES = {
    "bits": "INT", "zero": "INT", "channel_group": "INT", "planes": "INT", "least": "FLOAT", "together": "INT",
    "strides": "INTS", "pads": "INTS", "dilations": "INTS", "group": "INT", "activation": "STRING",
    "activation_params": "FLOATS",
}  # fmt: skip
BIT_CONV = OpSchema(
    DOMAIN, "BitConv", 1, _INPUTS, (Formal("y", _FLOAT),),
    defaults={**_DEFAULTS, "auto_pad": "NOTSET"}, attributes={**_ATTRIBUTES, "auto_pad": "STRING"},
    required=frozenset({"bits"}), min_inputs=3, max_inputs=5,
)  # fmt: skip
BLOCKED_BIT_CONV = OpSchema(
    DOMAIN, "BlockedBitConv", 1, (*_INPUTS, Formal("residual", _FLOAT, optional=True)), (Formal("y", _FLOAT),),
    defaults={**_DEFAULTS, "residual_last": 0},
    attributes={
        **_ATTRIBUTES, "kernel_shape": "INTS", "lanes": "INT", "channels": "INT", "out_channels": "INT",
        "residual_last": "INT",
    },
    required=frozenset({
        "bits", "strides", "pads", "dilations", "kernel_shape", "lanes", "channels", "out_channels"
    }),
    min_inputs=3, max_inputs=6,
)  # fmt: skip
register_schema(BIT_CONV)
register_schema(BLOCKED_BIT_CONV)


@rule("BitConv", domain=DOMAIN)
def bit_conv(c: InferContext) -> None:
    """As ``Conv``: codes have the shape of weights."""
    infer_as("Conv", c)


@rule("BlockedBitConv", domain=DOMAIN)
def blocked_bit_conv(c: InferContext) -> None:
    """As ``BlockedConv``."""
    blocked_conv(c)
