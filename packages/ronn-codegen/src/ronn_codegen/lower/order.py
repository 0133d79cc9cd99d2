"""TopK, CumSum, CumProd."""

from __future__ import annotations

import math

import numpy as np

from ronn_codegen.lower._copies import axis_of, item, wanted
from ronn_codegen.lowering import I64, Lowering
from ronn_codegen.table import lower
from ronn_codegen.templates.jobs import ACCUMULATED

_ORDER = "ronn_codegen.templates.order"
_INFINITY = {"float32": 0x7F80_0000, "float64": 0x7FF0_0000_0000_0000, "float16": 0x7C00, "bfloat16": 0x7F80}
_SHARES = 16
_BLOCK = 512


@lower("TopK")
def top_k(c: Lowering) -> None:
    """TopK, always sorted."""
    x, outputs = wanted(c.inputs[0]), c.outputs
    result = wanted(outputs[0] if outputs[0] is not None else outputs[1])
    axis = axis_of(c, x.rank, -1)
    infinity = _INFINITY.get(x.dtype.name, 0)
    c.require(x.dtype.kind in "iu" or infinity, f"the order of {x.dtype}")
    outer, n, inner, k = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :]), result.shape[axis]
    shares = min(outer * inner, _SHARES)
    values, indices = (
        c.temp(result.size * size) if y is None else y for y, size in zip(outputs, (item(x), 8), strict=True)
    )
    c.call(
        _ORDER, "top_k", x=x, values=values, indices=indices, room=c.temp(shares * (32 * n + 2048)), size=item(x),
        infinity=infinity, plain=int(x.dtype.kind == "u"), largest=int(c.attr("largest", 1)), outer=outer, n=n,
        inner=inner, k=k, chunks=shares, cost=outer * inner * (n + k * 5.0 * math.log2(n + 1)), bytes=x.nbytes,
    )  # fmt: skip


@lower("CumSum")
@lower("CumProd")
def cumulative(c: Lowering) -> None:
    """CumSum and CumProd."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    kind = {"f": "f", "i": "i", "u": "i"}.get(x.dtype.kind, "") + str(8 * item(x))
    c.require(kind in ACCUMULATED, f"sums of {x.dtype}")
    axis = wanted(c.inputs[1])
    product, exclusive = int(c.node.op == "CumProd"), int(c.attr("exclusive", 0))
    # -0 leaves even -0 as it is, but must not be the first of exclusive sums.
    first = 1.0 if product else 0.0 if exclusive else -0.0
    shape = np.array(x.shape, np.int64)
    c.call(
        _ORDER, "cumulative", x=x, y=y, status=c.status(f"{c.node.label}: there is no such axis"),
        what=2 * ACCUMULATED.index(kind) + product, size=item(x), exclusive=exclusive,
        reverse=int(c.attr("reverse", 0)), neutral=np.full(_BLOCK, first).astype(x.dtype), axis=axis,
        wide=int(axis.dtype == I64), shape=shape, rank=x.rank, chunks=max(x.size // 1024, 1), cost=x.size * 0.7,
        bytes=2 * x.nbytes,
    )  # fmt: skip
