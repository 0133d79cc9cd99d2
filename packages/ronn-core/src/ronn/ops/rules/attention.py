"""Attention of ONNX's own domain."""

from __future__ import annotations

from ronn.ir.dims import Dim, Shape, floordiv
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import unify, unknown


@rule("Attention")
def attention(c: InferContext) -> None:
    q, k, v = c.shape(0), c.shape(1), c.shape(2)
    heads, kv_heads = c.attr("q_num_heads"), c.attr("kv_num_heads")
    flat = c.rank(0) == 3
    if flat and not (heads and kv_heads):
        raise c.fail("inputs of rank 3 need q_num_heads and kv_num_heads")
    if c.rank(0) not in (None, 3, 4):
        raise c.fail(f"the query has rank {c.rank(0)}, not 3 or 4")
    q4, k4, v4 = (_split(s, n) for s, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
    for what, a, b in (
        ("batches of query and keys", q4[0], k4[0]), ("batches of query and values", q4[0], v4[0]),
        ("lengths of keys and values", k4[2], v4[2]), ("heads of keys and values", k4[1], v4[1]),
        ("sizes of the heads of query and keys", q4[3], k4[3]),
    ):  # fmt: skip
        unify(c, a, b, what)
    out = (q4[0], q4[1], q4[2], v4[3])
    if flat:
        width = None if out[3] is None else out[3] * heads
        c.set(0, c.dtype(0), (q4[0], q4[2], width))
    else:
        c.set(0, c.dtype(0), unknown(c.rank(0)) if q is None else out)
    total = k4[2]
    if c.has(4):
        past = c.shape(4)
        before = past[2] if past is not None and len(past) == 4 else None
        total = None if before is None or total is None else before + total
    c.set(1, c.dtype(1), (k4[0], k4[1], total, k4[3]))
    c.set(2, c.dtype(2), (v4[0], v4[1], total, v4[3]))
    c.set(3, c.dtype(0), (q4[0], q4[1], q4[2], total))


def _split(shape: Shape | None, heads: int | None) -> tuple[Dim | None, Dim | None, Dim | None, Dim | None]:
    """(batch, heads, length, width of a head) of an operand of rank 3 or 4."""
    if shape is None or len(shape) not in (3, 4):
        return (None, heads, None, None)
    if len(shape) == 4:
        return (shape[0], shape[1], shape[2], shape[3])
    width = shape[2]
    return (shape[0], heads, shape[1], None if width is None or not heads else floordiv(width, heads))
