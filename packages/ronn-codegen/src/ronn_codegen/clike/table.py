"""The lowerings of C-like devices: their own, and behind them those that hold for every device."""

from __future__ import annotations

from ronn_codegen.clike.index import LOWERINGS
from ronn_codegen.table import SHARED, Table

CLIKE = Table("ronn_codegen.clike.lower", LOWERINGS, SHARED)
lower = CLIKE.lower
