"""String operators. String tensors are object arrays of str."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from ronn.errors import ModelError
from ronn.provider.kernels import KernelContext, kernel

CASE: dict[str, Callable[[str], str]] = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}


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
    separators, expression = ctx.attr("separators"), ctx.attr("tokenexp")
    mark, pad, shortest = bool(ctx.attr("mark", 0)), ctx.attr("pad_value", ""), ctx.attr("mincharnum", 1)
    cut: Callable[[str], list[str]]
    if expression:
        token = re.compile(expression)

        def every(text: str) -> list[str]:
            return [m.group() for m in token.finditer(text)]

        cut = every if token.groups else token.findall
    elif separators in ([""], [], None):
        cut = list
    else:
        splitter = re.compile("|".join(separators))

        cut = splitter.split

    def call(x: np.ndarray) -> np.ndarray:
        rows = [cut(s) for s in x.reshape(-1).tolist()]
        if shortest > 1:
            rows = [[t for t in row if len(t) >= shortest] for row in rows]
        elif not all(map(all, rows)):
            rows = [list(filter(None, row)) for row in rows]
        if mark:
            rows = [["\x02", *row, "\x03"] for row in rows]
        width = max(map(len, rows), default=0)
        return objects([t for row in rows for t in row + [pad] * (width - len(row))], (*x.shape, width))

    return call


@kernel("TfIdfVectorizer", prepare=True)
def tf_idf_vectorizer(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """TfIdfVectorizer: counts of a pool's n-grams, with up to ``max_skip_count`` tokens skipped between items."""
    pool = ctx.attr("pool_strings", ctx.attr("pool_int64s"))
    starts = [*ctx.attr("ngram_counts"), len(pool)]
    if starts != sorted(starts) or starts[0] < 0:
        raise ModelError(
            f"ngram_counts {starts[:-1]} are no ascending positions in a pool of {len(pool)}", node=ctx.node
        )
    indexes = ctx.attr("ngram_indexes")
    if not all(0 <= i < 2**31 for i in indexes):
        raise ModelError("ngram_indexes hold a number that is no position in the output", node=ctx.node)
    grams: list[tuple[object, ...]] = []
    for n in range(1, len(starts)):
        at = range(starts[n - 1], starts[n], n)
        grams += [tuple(pool[i : i + n]) for i in at]
    column = dict(zip(grams, indexes, strict=True))
    weight = dict(zip(indexes, ctx.attr("weights", [1.0] * len(indexes)), strict=True))
    shortest, longest, skips = ctx.attr("min_gram_length"), ctx.attr("max_gram_length"), ctx.attr("max_skip_count")
    mode, width = ctx.attr("mode"), max(indexes) + 1
    scale = np.ones(width, np.float32)
    for i, w in weight.items():
        scale[i] = w

    singles = {gram[0]: i for gram, i in column.items() if len(gram) == 1}

    def positions(tokens: list[object], start: int) -> list[int]:
        """Positions of the n-grams of a row, whose columns begin at ``start``."""
        found = []
        if shortest <= 1:
            found = [start + singles[t] for t in tokens if t in singles]
        for n in range(max(2, shortest), longest + 1):
            for step in range(1, skips + 2):
                grams = zip(*(tokens[i * step :] for i in range(n)))
                found += [start + column[gram] for gram in grams if gram in column]
        return found

    def call(x: np.ndarray) -> np.ndarray:
        rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)
        found: list[int] = []
        for i, tokens in enumerate(rows.tolist()):
            found += positions(tokens, i * width)
        counts = np.bincount(np.array(found, np.int64), minlength=rows.shape[0] * width)
        out = counts.astype(np.float32).reshape(rows.shape[0], width)
        if mode == "IDF":
            out = np.where(out > 0, scale, np.float32(0))
        elif mode == "TFIDF":
            out *= scale
        return out.reshape(*x.shape[:-1], width)

    return call
