"""Passages, vectors and their order, with letters for tokens and a small stand-in for the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from examples.search_text import search

TABLE = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)


def letters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(map(len, texts))
    ids = np.array([[*t.encode(), *[0] * (longest - len(t))] for t in texts])
    return ids, (ids > 0).astype(np.int64)


def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None] > 0, TABLE[ids], 1e6)  # padding must not count


def test_vectors_keep_the_order_of_the_texts_whatever_the_batch() -> None:
    texts = ["one", "seventeen", "a", "forty two", "six"]
    alone = np.concatenate([search.embed([t], letters, run) for t in texts])
    for batch in (1, 2, 5, 9):
        assert search.embed(texts, letters, run, batch) == pytest.approx(alone, abs=1e-6)
    assert np.linalg.norm(alone, axis=1) == pytest.approx(np.ones(5), abs=1e-6)


def test_the_nearest_comes_first() -> None:
    vectors = search.embed(["memory limit", "fork", "limits of memory"], letters, run)
    (question,) = search.embed(["memory limits"], letters, run)
    assert [i for i, _ in search.nearest(question, vectors, 2)] in ([0, 2], [2, 0])
    assert search.nearest(vectors[1], vectors, 1) == [(1, pytest.approx(1.0))]


def test_passages_are_paragraphs_under_their_headings(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    words = "This paragraph is about [a link](there.md) and goes on for rather more than sixty characters."
    file.write_text(
        f"# Title\n\nshort\n\n{words}\n\n## Second\n\n<!-- not run: {words} -->\n```python\n{words}\n\n{words}\n```\n\n"
        f"| {words} |\n\n{words}\n"
    )
    found = search.passages(file)
    plain = words.replace("[a link](there.md)", "a link")
    assert [(p.heading, p.text) for p in found] == [("Title", plain), ("Second", plain)]
