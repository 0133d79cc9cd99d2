"""Operators of the ``ronn.bitnet`` domain whose activations are signs: exclusive or instead of multiplication.

They are the layers of XNOR-Net (Rastegari et al., 2016).

``SignLinear(x, codes, scale, bias?)``: ``activation(q(x) @ w.T + bias)`` of float32 ``x[..., K]``, codes u8[N, K] (1
for 1, 0 for -1), float32 ``scale[N]`` and bias ``[N]``; ``w`` is ``(2 * code - 1) * scale``.

``SignConv(x, codes, scale, bias?)``: the same of ``Conv`` with ``group`` 1, codes u8[O, C, kH, kW] (or [O, C, kW]) and
scale ``[O]``. What Conv pads is 0, neither sign, and adds nothing.

``q`` gives 1 above 0 and -1 below. ``zero`` (-1, 0 or 1) is what 0 becomes: 0 as ONNX's Sign has it, 1 as
``Where(x >= 0, 1, -1)`` does. ``nan`` is what NaN becomes, -1 or 1; with 0 it stays NaN, and so do the sums that it is
part of. With ``mean`` (``SignLinear`` only) rows of q(x) are multiplied with the mean of their absolute values.

Sums are integers and exact for every input; what is rounded is their product with ``scale``, with the mean, and the sum
with the bias. ``activation`` and ``activation_params`` are those of ``ronn::FusedMatMul``.
"""

from __future__ import annotations

from typing import Any

from ronn.ir.types import DType
from ronn.ops.infer import InferContext, infer_as, rule
from ronn.ops.schema import Formal, OpSchema, register_schema
from ronn_provider_bitnet.ops import DOMAIN

_FLOAT = "tensor(float)"
_FORMALS = (
    Formal("x", _FLOAT), Formal("codes", "tensor(uint8)"), Formal("scale", _FLOAT),
    Formal("bias", _FLOAT, optional=True),
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {"zero": 0, "nan": 0, "activation": "", "activation_params": []}
_ATTRIBUTES = {"zero": "INT", "nan": "INT", "activation": "STRING", "activation_params": "FLOATS"}
WINDOWS = {"auto_pad": "STRING", "dilations": "INTS", "kernel_shape": "INTS", "pads": "INTS", "strides": "INTS"}
"""Attributes of ``Conv`` that ``SignConv`` has."""

register_schema(OpSchema(
    DOMAIN, "SignLinear", 1, _FORMALS, (Formal("y", _FLOAT),), defaults={**_DEFAULTS, "mean": 0},
    attributes={**_ATTRIBUTES, "mean": "INT"}, min_inputs=3, max_inputs=4,
))  # fmt: skip
register_schema(OpSchema(
    DOMAIN, "SignConv", 1, _FORMALS, (Formal("y", _FLOAT),), defaults=_DEFAULTS, attributes={**_ATTRIBUTES, **WINDOWS},
    min_inputs=3, max_inputs=4,
))  # fmt: skip


@rule("SignLinear", domain=DOMAIN)
def sign_linear(c: InferContext) -> None:
    x, codes = c.shape(0), c.shape(1)
    c.set(0, DType.FLOAT32, None if x is None or codes is None else (*x[:-1], codes[0]))


@rule("SignConv", domain=DOMAIN)
def sign_conv(c: InferContext) -> None:
    infer_as("Conv", c)
