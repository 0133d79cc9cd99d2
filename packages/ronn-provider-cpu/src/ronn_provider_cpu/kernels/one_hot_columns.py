"""OneHotColumns of the ``ronn.cpu`` domain (see ``ronn_provider_cpu.column_ops``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, repeat

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.column_ops import DOMAIN


@kernel("OneHotColumns", domain=DOMAIN, prepare=True)
def one_hot_columns(ctx: KernelContext) -> Callable[..., np.ndarray]:
    categories, counts = list(ctx.attr("categories")), list(ctx.attr("counts"))
    columns = list(ctx.attr("columns", ()))
    width = sum(counts)
    rows_of: list[tuple[dict[str, bytes], bytes]] = []  # the bytes of each category of a column, and of none of them
    start = 0
    for count in counts:
        names = categories[start : start + count]
        ones = np.eye(count, dtype=np.float32)
        rows_of.append(({name: ones[i].tobytes() for i, name in enumerate(names)}, bytes(4 * count)))
        start += count

    def call(*x: np.ndarray) -> np.ndarray:
        rows = x[0].shape[0]
        if columns:
            given = list(zip(*x[0].tolist()))
            parts: list[Iterable[str]] = [given[c] for c in columns] if given else []
        else:
            parts = [a.reshape(-1).tolist() for a in x]
        coded = [map(place.get, part, repeat(none)) for (place, none), part in zip(rows_of, parts)]
        return np.frombuffer(bytearray().join(chain.from_iterable(zip(*coded))), np.float32).reshape(rows, 1, width)

    return call
