"""n-grams counted in texts, against a few lines of Python; nothing written beside."""

from __future__ import annotations

import re

import numpy as np
import pytest
from guarded import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import library_at

from ronn_codegen.native.library import Library
from ronn_codegen.templates.text_tables import text_hash, text_tables

WORD = st.text("abé", min_size=1, max_size=3)


@pytest.fixture(scope="module", params=("native", "avx2", "baseline"))
def kernels(request: pytest.FixtureRequest) -> Library:
    return library_at(request.param)


def counted(
    text: str, pool: dict[tuple[str, ...], int], width: int, expression: str, fewest: int, shortest: int, longest: int
) -> np.ndarray:
    out = np.zeros(width, np.float32)
    words = [w for w in re.findall(expression, text) if len(w) >= fewest]
    for n in range(shortest, longest + 1):
        for i in range(len(words) - n + 1):
            column = pool.get(tuple(words[i : i + n]))
            if column is not None:
                out[column] += 1
    return out


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(st.text("aabbé ,", max_size=20), min_size=1, max_size=5),
    grams=st.lists(st.lists(WORD, min_size=1, max_size=3).map(tuple), min_size=1, max_size=40, unique=True),
    alone=st.booleans(), fewest=st.integers(1, 2), shortest=st.integers(1, 2), longest=st.integers(1, 3),
    mode=st.sampled_from(["TF", "IDF", "TFIDF"]), workers=st.integers(1, 3),
)  # fmt: skip
def test_counts(
    kernels: Library, texts: list[str], grams: list[tuple[str, ...]], alone: bool, fewest: int, shortest: int,
    longest: int, mode: str, workers: int,
) -> None:  # fmt: skip
    pool = {gram: (7 * i) % len(grams) for i, gram in enumerate(grams)}
    width = len(grams)
    scale = np.linspace(-1, 2, width, dtype=np.float32)
    tables = text_tables(pool)
    inside = np.zeros(256, np.uint8)
    inside[[ord("a"), ord("b")]] = 1
    inside[128:] = 1
    text = np.frombuffer("\0".join([*texts, ""]).encode(), np.uint8)
    y, recent = Guarded((len(texts), width), np.float32), Guarded((longest * workers,), np.int64)
    y.array[:] = 0
    kernel = kernels.kernel("ronn_codegen.templates.text", "count_grams_f32")
    for worker in range(workers):
        kernel(
            text.ctypes.data, text.size, len(texts), inside.ctypes.data, alone, fewest, tables.words.ctypes.data,
            len(tables.words) - 1, tables.spelled.ctypes.data, tables.grams.ctypes.data, len(tables.grams) - 1,
            tables.columns.ctypes.data, tables.vocabulary, shortest, longest, recent.address, y.address, width,
            0 if mode == "TF" else scale.ctypes.data, mode == "IDF", worker=worker, workers=workers,
        )  # fmt: skip
    expression = "[abé]" if alone else "[abé]+"
    expected = np.stack([counted(t, pool, width, expression, fewest, shortest, longest) for t in texts])
    if mode == "IDF":
        expected = np.where(expected > 0, scale, np.float32(0))
    elif mode == "TFIDF":
        expected *= scale
    np.testing.assert_array_equal(y.array, expected)
    y.check()
    recent.check()


def test_words_whose_places_are_taken_are_found_behind() -> None:
    words = [f"w{i}" for i in range(3000)]
    tables = text_tables({(w,): i for i, w in enumerate(words)})
    spelled = tables.spelled.tobytes()
    mask = len(tables.words) - 1
    for number, word in enumerate(words):
        value = text_hash(word.encode())
        place = ((value % (1 << 64)) ^ ((value % (1 << 64)) >> 32)) & mask
        while tables.words[place, 3] != number:
            assert tables.words[place, 3] != -1
            place = (place + 1) & mask
        found, start, size, _ = tables.words[place]
        assert found == value and spelled[start : start + size] == word.encode()
