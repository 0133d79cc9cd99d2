"""``OneHotColumns`` of the ``ronn.cpu`` domain: string columns one-hot encoded side by side.

``OneHotColumns(x...)``: float32 ``[rows, 1, sum(counts)]``. Column i has ``counts[i]`` categories, listed one after
another in ``categories``; it is input i ``[rows, 1]``, or, with ``columns``, column ``columns[i]`` of the one input
``[rows, width]``. A string that is no category gives zeros.
"""

from __future__ import annotations

from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.schema import Formal, OpSchema, register_schema
from ronn_provider_cpu.ops import DOMAIN

ONE_HOT_COLUMNS = OpSchema(
    DOMAIN, "OneHotColumns", 1, (Formal("x", "tensor(string)", variadic=True),), (Formal("y", "tensor(float)"),),
    defaults={"columns": []}, attributes={"categories": "STRINGS", "counts": "INTS", "columns": "INTS"},
    required=frozenset({"categories", "counts"}), min_inputs=1, max_inputs=2**31 - 1,
)  # fmt: skip

__all__ = ["DOMAIN", "ONE_HOT_COLUMNS"]

register_schema(ONE_HOT_COLUMNS)


@rule("OneHotColumns", domain=DOMAIN)
def one_hot_columns(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(0, DType.FLOAT32, (None if shape is None else shape[0], 1, sum(c.attr("counts"))))
