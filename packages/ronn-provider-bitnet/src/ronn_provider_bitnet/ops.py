"""Operators of the ``ronn.bitnet`` domain; ``BitLinear`` is a product of quantised activations with weights of one,
two, four or eight bits.

``BitLinear(x, codes, scale, bias?, offset?)``: ``activation(q(x) @ w.T + bias)`` of float32 ``x[..., K]``, codes
u8[N, K] (below ``2 ** bits``), float32 ``scale[N, groups]`` for groups of ``group`` elements along K (the last may be
shorter; 0: one group) and bias ``[N]``. ``w`` is ``(code - zero) * scale`` (``code * scale + offset`` where
there is an ``offset[N, groups]``), and ``(2 * code - 1) * scale`` with one bit.

``q`` rounds each row of x to ``planes`` signed bytes: with one to ``round(x * s) / s``, s = 127 / max(largest absolute
value of the row, least), as BitNet does (Wang et al., 2023, and b1.58, Ma et al., 2024); with two to 16 bits, s = 32639
/ largest absolute value, which is off by at most 1.6e-5 of the largest: for weights of models whose activations are
not meant to be quantised. Rows with a NaN or an infinity become NaN. ``activation`` and ``activation_params`` are those
of ``ronn::FusedMatMul``.

``BitInteger(x, codes, base, x_zero?)``: int32 of bytes ``x[..., K]`` and integer weights ``step * code + base``, with
codes u8[N, K] (two or four bits) and int32 ``base[N, 1]``: ``(x - x_zero) @ w.T`` as MatMulInteger has it, with sums
that wrap round. ``x_zero`` is one byte, or one for each row of a matrix x.

``BitIntegerToFloat(x, codes, base, scale, x_scale, x_zero?, bias?)``: ``activation(x_scale * sum over groups of scale *
((x - x_zero) @ (code + base).T) + bias)``: exact integer sums of each group of ``group`` elements along K, scaled with
float32 ``scale[N, groups]``; base is int32[N, groups], ``x_scale`` one float32.

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

_BYTES: dict[str, tuple[str, ...]] = {"T": ("tensor(uint8)", "tensor(int8)")}
_WEIGHTS = (Formal("x", "T"), Formal("codes", "tensor(uint8)"), Formal("base", "tensor(int32)"))
BIT_INTEGER = OpSchema(
    DOMAIN, "BitInteger", 1,
    (*_WEIGHTS, Formal("x_zero", "T", optional=True)),
    (Formal("y", "tensor(int32)"),),
    types=_BYTES,
    defaults={"step": 1},
    attributes={"bits": "INT", "step": "INT"},
    required=frozenset({"bits"}),
    min_inputs=3, max_inputs=4,
)  # fmt: skip

BIT_INTEGER_TO_FLOAT = OpSchema(
    DOMAIN, "BitIntegerToFloat", 1,
    (
        *_WEIGHTS, Formal("scale", _FLOAT), Formal("x_scale", _FLOAT), Formal("x_zero", "T", optional=True),
        Formal("bias", _FLOAT, optional=True),
    ),
    (Formal("y", _FLOAT),),
    types=_BYTES,
    defaults={"group": 0, "activation": "", "activation_params": []},
    attributes={"bits": "INT", "group": "INT", "activation": "STRING", "activation_params": "FLOATS"},
    required=frozenset({"bits"}),
    min_inputs=5, max_inputs=7,
)  # fmt: skip

register_schema(BIT_LINEAR)
register_schema(BIT_INTEGER)
register_schema(BIT_INTEGER_TO_FLOAT)
register_schema(TRITS)


@rule("BitLinear", domain=DOMAIN)
def bit_linear(c: InferContext) -> None:
    _rows_of(c, DType.FLOAT32)


@rule("BitInteger", domain=DOMAIN)
def bit_integer(c: InferContext) -> None:
    _rows_of(c, DType.INT32)


@rule("BitIntegerToFloat", domain=DOMAIN)
def bit_integer_to_float(c: InferContext) -> None:
    _rows_of(c, DType.FLOAT32)


def _rows_of(c: InferContext, dtype: DType) -> None:
    x, codes = c.shape(0), c.shape(1)
    c.set(0, dtype, None if x is None or codes is None else (*x[:-1], codes[0]))


@rule("Trits", domain=DOMAIN)
def trits(c: InferContext) -> None:
    c.set(0, DType.INT8, tuple(int(d) for d in c.attr("shape")))
