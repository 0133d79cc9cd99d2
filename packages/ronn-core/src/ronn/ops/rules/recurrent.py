"""LSTM, GRU and RNN."""

from __future__ import annotations

from ronn.ir.dims import Dim
from ronn.ops.infer import InferContext, rule


@rule("LSTM", "GRU", "RNN")
def recurrent(c: InferContext) -> None:
    x, r = c.shape(0), c.shape(2)
    if x is not None and len(x) != 3:
        raise c.fail(f"the input has rank {len(x)}, not 3")
    hidden: Dim | None = c.node.attributes.get("hidden_size")
    if hidden is None and r is not None and len(r) == 3:
        hidden = r[2]
    directions = 2 if c.attr("direction", "forward") == "bidirectional" else 1
    first, second = (None, None) if x is None else (x[0], x[1])
    if c.attr("layout", 0):
        c.set(0, c.dtype(0), (first, second, directions, hidden))
        states: tuple[Dim | None, ...] = (first, directions, hidden)
    else:
        c.set(0, c.dtype(0), (first, directions, second, hidden))
        states = (directions, second, hidden)
    c.set(1, c.dtype(0), states)
    c.set(2, c.dtype(0), states)
