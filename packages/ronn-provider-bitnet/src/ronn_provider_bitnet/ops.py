"""``BitLinear`` of the ``ronn.bitnet`` domain: a product of quantised activations with weights of one or two bits.

``BitLinear(x, codes, scale, bias?, offset?)``: ``activation(q(x) @ w.T + bias)`` of float32 ``x[..., K]``, codes
u8[N, K] (below ``2 ** bits``), float32 ``scale[N, groups]`` for groups of ``group`` elements along K (the last may be
shorter; 0: one group) and bias ``[N]``. ``w`` is ``(code - zero) * scale`` with two bits (``code * scale + offset``
where there is an ``offset[N, groups]``) and ``(2 * code - 1) * scale`` with one.

``q`` rounds each row of x to ``planes`` signed bytes: with one to ``round(x * s) / s``, s = 127 / max(largest absolute
value of the row, least), as BitNet does (Wang et al., 2023, and b1.58, Ma et al., 2024); with two to 16 bits, s = 32639
/ largest absolute value, which is off by at most 1.6e-5 of the largest: for weights of models whose activations are
not meant to be quantised. Rows with a NaN or an infinity become NaN. ``activation`` and ``activation_params`` are those
of ``ronn::FusedMatMul``.

``Trits(packed)``: int8 of ``shape``, values -1, 0 and 1, of u8[ceil(size / 5)]: five in a byte, each plus one a digit
in base 3, the lowest first, in C order. Weights of files only: they are unpacked when a model is compiled.
"""

from __future__ import annotations

from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.schema import Formal, OpSchema, register_schema

DOMAIN = "ronn.bitnet"
_FLOAT = "tensor(float)"
BIT_LINEAR = OpSchema(
    DOMAIN, "BitLinear", 1,
    (
        Formal("x", _FLOAT), Formal("codes", "tensor(uint8)"), Formal("scale", _FLOAT),
        Formal("bias", _FLOAT, optional=True), Formal("offset", _FLOAT, optional=True),
    ),
    (Formal("y", _FLOAT),),
    defaults={"zero": 1, "group": 0, "planes": 1, "least": 1e-5, "activation": "", "activation_params": []},
    attributes={
        "bits": "INT", "zero": "INT", "group": "INT", "planes": "INT", "least": "FLOAT", "activation": "STRING",
        "activation_params": "FLOATS",
    },
    required=frozenset({"bits"}),
    min_inputs=3, max_inputs=5,
)  # fmt: skip

TRITS = OpSchema(
    DOMAIN, "Trits", 1,
    (Formal("packed", "tensor(uint8)"),),
    (Formal("codes", "tensor(int8)"),),
    attributes={"shape": "INTS"},
    required=frozenset({"shape"}),
    min_inputs=1, max_inputs=1,
)  # fmt: skip

register_schema(BIT_LINEAR)
register_schema(TRITS)


@rule("BitLinear", domain=DOMAIN)
def bit_linear(c: InferContext) -> None:
    x, codes = c.shape(0), c.shape(1)
    c.set(0, DType.FLOAT32, None if x is None or codes is None else (*x[:-1], codes[0]))


@rule("Trits", domain=DOMAIN)
def trits(c: InferContext) -> None:
    c.set(0, DType.INT8, tuple(int(d) for d in c.attr("shape")))
