"""What operators on texts share: cases, cutting texts into tokens, counting n-grams of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ronn.errors import ModelError
from ronn.provider.kernels import KernelContext

CASE: dict[str, Callable[[str], str]] = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}
Cut = Callable[[list[str]], list[list[str]]]


def cutter(ctx: KernelContext) -> Cut:
    """A function that cuts each of several texts into tokens, as a Tokenizer with the attributes of the node does."""
    separators, expression = ctx.attr("separators"), ctx.attr("tokenexp")
    shortest = ctx.attr("mincharnum", 1)
    cut: Callable[[str], list[str]]
    if expression:
        token = re.compile(expression)

        def every(text: str) -> list[str]:
            return [m.group() for m in token.finditer(text)]

        cut = every if token.groups else token.findall
    elif separators in ([""], [], None):
        cut = list
    else:
        cut = re.compile("|".join(separators)).split

    def tokens(texts: list[str]) -> list[list[str]]:
        rows = [cut(s) for s in texts]
        if shortest > 1:
            return [[t for t in row if len(t) >= shortest] for row in rows]
        if not all(map(all, rows)):
            return [list(filter(None, row)) for row in rows]
        return rows

    return tokens


@dataclass(frozen=True)
class Grams:
    """The n-grams that a TfIdfVectorizer counts, and the column of each; ``singles`` are those of one token.

    ``scale[width]``: what each column is multiplied by. In ``mode`` IDF a column holds that, whatever the count.
    """

    columns: dict[tuple[Any, ...], int]
    singles: dict[Any, int]
    scale: np.ndarray
    mode: str
    shortest: int
    longest: int
    skips: int

    @classmethod
    def of(cls, ctx: KernelContext) -> Grams:
        """Those of a node. ModelError for attributes that contradict each other."""
        pool = ctx.attr("pool_strings", ctx.attr("pool_int64s"))
        starts = [*ctx.attr("ngram_counts"), len(pool)]
        if starts != sorted(starts) or starts[0] < 0:
            raise ModelError(
                f"ngram_counts {starts[:-1]} are no ascending positions in a pool of {len(pool)}", node=ctx.node
            )
        indexes = ctx.attr("ngram_indexes")
        if not all(0 <= i < 2**31 for i in indexes):
            raise ModelError("ngram_indexes hold a number that is no position in the output", node=ctx.node)
        grams: list[tuple[Any, ...]] = []
        for n in range(1, len(starts)):
            grams += [tuple(pool[i : i + n]) for i in range(starts[n - 1], starts[n], n)]
        weights = ctx.attr("weights", [1.0] * len(indexes))
        scale = np.ones(max(indexes) + 1, np.float32)
        for i, weight in zip(indexes, weights, strict=True):
            scale[i] = weight
        columns = dict(zip(grams, indexes, strict=True))
        singles = {gram[0]: i for gram, i in columns.items() if len(gram) == 1}
        return cls(
            columns, singles, scale, ctx.attr("mode"), ctx.attr("min_gram_length"), ctx.attr("max_gram_length"),
            ctx.attr("max_skip_count"),
        )  # fmt: skip

    @property
    def width(self) -> int:
        return len(self.scale)

    def count(self, rows: Sequence[list[Any]]) -> np.ndarray:
        """float32[rows, width] of rows of tokens."""
        found: list[int] = []
        for i, tokens in enumerate(rows):
            found += self._positions(tokens, i * self.width)
        counts = np.bincount(np.array(found, np.int64), minlength=len(rows) * self.width)
        out = counts.astype(np.float32).reshape(len(rows), self.width)
        if self.mode == "IDF":
            return np.where(out > 0, self.scale, np.float32(0))
        if self.mode == "TFIDF":
            out *= self.scale
        return out

    def _positions(self, tokens: list[Any], start: int) -> list[int]:
        """Positions of the n-grams of a row, whose columns begin at ``start``."""
        found = []
        if self.shortest <= 1:
            found = [start + self.singles[t] for t in tokens if t in self.singles]
        for n in range(max(2, self.shortest), self.longest + 1):
            for step in range(1, self.skips + 2):
                grams = zip(*(tokens[i * step :] for i in range(n)))
                found += [start + self.columns[gram] for gram in grams if gram in self.columns]
        return found
