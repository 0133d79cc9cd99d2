"""OneHotColumns of the ``ronn.cpu`` domain (see ``ronn_provider_cpu.column_ops``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.column_ops import DOMAIN


@kernel("OneHotColumns", domain=DOMAIN, prepare=True)
def one_hot_columns(ctx: KernelContext) -> Callable[..., np.ndarray]:
    categories, counts = list(ctx.attr("categories")), list(ctx.attr("counts"))
    columns = list(ctx.attr("columns", ()))
    width = sum(counts)
    places: list[dict[str, int]] = []
    start = 0
    for count in counts:
        places.append({name: start + i for i, name in enumerate(categories[start : start + count])})
        start += count

    def call(*x: np.ndarray) -> np.ndarray:
        rows = x[0].shape[0]
        out = np.zeros((rows, 1, width), np.float32)
        if columns:
            given = list(zip(*x[0].tolist()))
            parts = [given[c] for c in columns] if given else []
        else:
            parts = [a.reshape(-1).tolist() for a in x]
        hits = [
            row * width + place[name]
            for place, part in zip(places, parts)
            for row, name in enumerate(part)
            if name in place
        ]
        if hits:
            out.reshape(-1)[hits] = 1
        return out

    return call
