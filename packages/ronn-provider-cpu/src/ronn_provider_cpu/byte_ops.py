"""``ByteMatMul`` of the ``ronn.cpu`` domain: a product with weights of bytes.

``ByteMatMul(x, w, scale, bias?)``: ``activation(x @ (w * scale) + bias)`` of float32 ``x[..., K]``, int8 ``w[K, N]``
and float32 scale and bias ``[N]``; activation and activation_params as of ``ronn::FusedMatMul``.
"""

from __future__ import annotations

from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.schema import Formal, OpSchema, register_schema
from ronn_provider_cpu.ops import DOMAIN

_FLOAT = "tensor(float)"
BYTE_MATMUL = OpSchema(
    DOMAIN, "ByteMatMul", 1,
    (
        Formal("x", _FLOAT), Formal("w", "tensor(int8)"), Formal("scale", _FLOAT),
        Formal("bias", _FLOAT, optional=True),
    ),
    (Formal("y", _FLOAT),),
    defaults={"activation": "", "activation_params": []},
    attributes={"activation": "STRING", "activation_params": "FLOATS"},
    min_inputs=3, max_inputs=4,
)  # fmt: skip

__all__ = ["BYTE_MATMUL", "DOMAIN"]

register_schema(BYTE_MATMUL)


@rule("ByteMatMul", domain=DOMAIN)
def byte_matmul(c: InferContext) -> None:
    x, w = c.shape(0), c.shape(1)
    c.set(0, DType.FLOAT32, None if x is None or w is None else (*x[:-1], w[1]))
