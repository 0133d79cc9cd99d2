"""String operators. String tensors are object arrays of str."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._text import CASE, Grams, cutter


def objects(values: Iterable[object], shape: tuple[int, ...]) -> np.ndarray:
    """An object array of ``shape`` that holds ``values`` in row-major order."""
    out = np.empty(shape, object)
    out.reshape(-1)[:] = values if isinstance(values, list) else list(values)
    return out


@kernel("StringConcat")
def string_concat(ctx: KernelContext, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """StringConcat, with broadcasting."""
    return np.asarray(np.add(a, b), dtype=object)


@kernel("StringSplit")
def string_split(
    ctx: KernelContext, x: np.ndarray, *, delimiter: str | None, maxsplit: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """StringSplit: pieces padded with "" to the longest, and the number of pieces."""
    limit = -1 if maxsplit is None else maxsplit
    if delimiter:
        pieces = [s.split(delimiter, limit) if s else [] for s in x.reshape(-1)]
    else:
        pieces = [s.split(None, limit) for s in x.reshape(-1)]
    width = max(map(len, pieces), default=0)
    padded = (p for row in pieces for p in (*row, *[""] * (width - len(row))))
    return objects(padded, (*x.shape, width)), np.array([len(p) for p in pieces], np.int64).reshape(x.shape)


@kernel("RegexFullMatch", prepare=True)
def regex_full_match(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """RegexFullMatch: whether the whole string matches the pattern."""
    pattern = re.compile(ctx.attr("pattern"))

    def call(x: np.ndarray) -> np.ndarray:
        return np.array([pattern.fullmatch(s) is not None for s in x.reshape(-1)], dtype=bool).reshape(x.shape)

    return call


@kernel("StringNormalizer", prepare=True)
def string_normalizer(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """StringNormalizer of ``[C]`` or ``[1, C]``: stopwords are dropped, then the case is changed."""
    change = CASE[ctx.attr("case_change_action", "NONE")]
    fold: Callable[[str], str] = str if ctx.attr("is_case_sensitive", 0) else str.lower
    stopwords = frozenset(map(fold, ctx.attr("stopwords", ())))

    def call(x: np.ndarray) -> np.ndarray:
        if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] != 1):
            raise ValueError(f"StringNormalizer takes [C] or [1, C], not {list(x.shape)}")
        kept = [change(s) for s in x.reshape(-1) if fold(s) not in stopwords] or [""]
        return objects(kept, (*x.shape[:-1], len(kept)))

    return call


@kernel("Tokenizer", domain="com.microsoft", prepare=True)
def tokenizer(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """com.microsoft Tokenizer of ``[C]`` or ``[N, C]``: tokens in a new last axis, padded with ``pad_value``."""
    mark, pad, tokens = bool(ctx.attr("mark", 0)), ctx.attr("pad_value", ""), cutter(ctx)

    def call(x: np.ndarray) -> np.ndarray:
        rows = tokens(x.reshape(-1).tolist())
        if mark:
            rows = [["\x02", *row, "\x03"] for row in rows]
        width = max(map(len, rows), default=0)
        return objects([t for row in rows for t in row + [pad] * (width - len(row))], (*x.shape, width))

    return call


@kernel("TfIdfVectorizer", prepare=True)
def tf_idf_vectorizer(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """TfIdfVectorizer: counts of a pool's n-grams, with up to ``max_skip_count`` tokens skipped between items."""
    grams = Grams.of(ctx)

    def call(x: np.ndarray) -> np.ndarray:
        rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)
        return grams.count(rows.tolist()).reshape(*x.shape[:-1], grams.width)

    return call
