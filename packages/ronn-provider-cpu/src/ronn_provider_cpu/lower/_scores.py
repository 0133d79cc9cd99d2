"""What lowerings of classifiers share: labels, and what becomes of scores."""

from __future__ import annotations

import numpy as np

from ronn_codegen.templates.ml_layout import POSTS
from ronn_provider_cpu.kernels._scores import as_array
from ronn_provider_cpu.lowering import Lowering, Operand, Temporary

ML_MODULE = "ronn_codegen.templates.ml"


def rows_and_width(x: Operand) -> tuple[int, int]:
    """``x`` as rows of features: a vector is one row."""
    rows = 1 if x.rank == 1 else x.shape[0]
    return rows, x.size // max(rows, 1)


def labels_of(c: Lowering, integers: str) -> np.ndarray:
    """The int64 labels. Refuses strings."""
    c.require(not c.attr("classlabels_strings"), "labels are strings")
    return as_array(c.attr(integers), np.int64)


def post_of(c: Lowering, name: str | None = None) -> int:
    """The number of the post transform in ``POSTS``."""
    name = c.attr("post_transform", "NONE") if name is None else name
    c.require(name in POSTS, f"post transform {name}")
    return POSTS.index(name)


def finish(
    c: Lowering,
    raw: Operand | Temporary,
    rows: int,
    k: int,
    *,
    post: int,
    y: Operand | None,
    ld: int | None = None,
    seen: int = 0,
    column: int = -1,
    threshold: float = 0.0,
    labels: np.ndarray | None = None,
    label: Operand | None = None,
    both: int = 0,
) -> None:
    """The call of ``scores_f32``: labels and transformed scores of raw[rows, k]."""
    c.call(
        ML_MODULE, "scores_f32", raw=raw, rows=rows, k=k, ld=k if ld is None else ld, seen=seen, column=column,
        threshold=threshold, labels=labels if labels is not None and labels.size else 0,
        label=0 if label is None else label, both=both, post=post,
        y=c.temp(4 * rows * max(k, 2)) if y is None else y, chunks=max(1, rows // 16), cost=rows * (10 + 2 * k),
    )  # fmt: skip
