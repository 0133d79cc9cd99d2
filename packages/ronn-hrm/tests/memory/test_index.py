import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from remembered import episode

import ronn_hrm as hrm
from ronn.errors import OptionError, UnsupportedError
from ronn_hrm.errors import StateError
from ronn_hrm.memory.index import index_from, neighbours_of


def _random(rows: int, dims: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dims)).astype(np.float32)


def _index(kind: str, vectors: np.ndarray) -> hrm.FlatIndex:
    rows = np.arange(len(vectors))
    return {"flat": hrm.FlatIndex, "ann": hrm.AnnIndex}[kind](vectors, rows % 10, rows + 100)


def _expected(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Distances in float64."""
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return 1.0 - np.divide(vectors @ query, lengths, out=np.zeros(len(vectors)), where=lengths > 0)


@settings(deadline=None)
@given(st.integers(0, 70), st.integers(1, 12), st.integers(0, 90), st.integers(0, 5), st.sampled_from(["flat", "ann"]))
def test_the_nearest_are_found_in_order(rows: int, dims: int, k: int, seed: int, kind: str) -> None:
    vectors, query = _random(rows, dims, seed), _random(1, dims, seed + 100)[0]
    distances, found = _index(kind, vectors).search(query, k)
    expected = _expected(vectors, query)
    assert distances.dtype == np.float32 and found.dtype == np.int64 and len(found) == min(k, rows)
    assert len(set(found.tolist())) == len(found)
    np.testing.assert_allclose(distances, expected[found], atol=3e-6)
    assert (np.diff(distances) >= 0).all()
    if kind == "flat" and len(found):
        np.testing.assert_allclose(distances, np.sort(expected)[: len(found)], atol=3e-6)


@settings(deadline=None)
@given(
    npst.arrays(np.float32, st.tuples(st.integers(1, 50), st.integers(1, 9)),
                elements=st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e30, 1e-30])),
    st.sampled_from([1, 5, 32, 33, 50]),
)  # fmt: skip
def test_of_equally_near_ones_the_older_is_first_however_many_are_asked_for(vectors: np.ndarray, k: int) -> None:
    index = _index("flat", vectors)
    for query in vectors[:5]:
        distances, rows = index.search(query, k)
        everything, order = index.search(query, len(vectors))
        assert np.array_equal(rows, order[:k]) and np.array_equal(distances, everything[:k])
        assert np.array_equal(np.lexsort((order, everything)), np.arange(len(vectors)))
        assert (distances >= 0).all()


@pytest.mark.parametrize("kind", ["flat", "ann"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (300, 64), (513, 33), (2000, 17)])
def test_many_queries_are_to_the_bit_what_each_is_alone(kind: str, shape: tuple[int, int]) -> None:
    index = _index(kind, _random(*shape))
    queries = _random(60, shape[1], 1)
    queries[3] = 0
    for k in (1, 5, 40):
        distances, rows = index.search_many(queries, k)
        assert distances.shape == rows.shape == (60, min(k, shape[0]))
        for at, query in enumerate(queries):
            # A copy at another address, and one of every second number: neither may matter.
            for same in (query, np.concatenate([[0.0], query]).astype(np.float32)[1:], np.repeat(query, 2)[::2]):
                alone = index.search(same, k)
                assert alone[0].tobytes() == distances[at].tobytes() and alone[1].tobytes() == rows[at].tobytes()


@pytest.mark.parametrize("kind", ["flat", "ann"])
def test_what_was_kept_finds_the_same_to_the_bit(kind: str) -> None:
    index = _index(kind, _random(2000, 24))
    again = index_from(index.kind, {name: array.copy() for name, array in index.arrays().items()})
    assert again.vectors.tobytes() == index.vectors.tobytes()  # lengths of 1 are not brought to 1 once more
    queries = _random(50, 24, 1)
    for first, second in zip(index.search_many(queries, 7), again.search_many(queries, 7), strict=True):
        assert first.tobytes() == second.tobytes()
    assert np.array_equal(again.labels, index.labels) and np.array_equal(again.requests, index.requests)


@pytest.mark.parametrize("kind", ["flat", "ann"])
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_query_without_direction_is_as_far_from_everything(kind: str, value: float) -> None:
    query = np.zeros(8, np.float32)
    query[2] = value
    distances, rows = _index(kind, _random(20, 8)).search(query, 3)
    assert distances.tolist() == [1.0] * 3 and rows.tolist() == [0, 1, 2]


def test_many_equal_ones_are_found_quickly_and_the_oldest_first() -> None:
    vectors = np.ones((50_000, 4), np.float32)
    vectors[:10] = [1, 0, 0, 0]
    index = _index("flat", vectors)
    for query in (np.ones(4), np.zeros(4)):
        began = time.process_time()
        distances, rows = index.search(query.astype(np.float32), 5)
        assert time.process_time() - began < 1.0  # seconds; one by one it would be a minute
        assert rows.tolist() == ([10, 11, 12, 13, 14] if query.any() else [0, 1, 2, 3, 4])
        assert len(set(distances.tolist())) == 1


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 200), st.integers(0, 10))
def test_a_distance_does_not_depend_on_what_else_is_there(rows: int, dims: int, seed: int) -> None:
    vectors, query = _random(rows, dims, seed), _random(1, dims, seed + 50)[0]
    distances, order = _index("flat", vectors).search(query, rows)
    for at in {0, rows // 2, rows - 1}:
        alone, _ = _index("flat", vectors[order[at] :][:1]).search(query, 1)
        assert alone[0] == distances[at]


def test_the_number_of_threads_of_blas_does_not_matter() -> None:
    program = (
        "import numpy as np, ronn_hrm as hrm; rng = np.random.default_rng(0)\n"
        "for m, d in ((5001, 64), (12345, 17), (777, 384)):\n"
        "    index = hrm.FlatIndex(rng.standard_normal((m, d)), np.zeros(m), np.zeros(m))\n"
        "    queries = rng.standard_normal((20, d)).astype(np.float32)\n"
        "    print(*(part.tobytes().hex() for part in index.search_many(queries, 8)))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads)},
            check=True, capture_output=True, text=True,
        ).stdout
        for threads in (1, 2)
    }  # fmt: skip
    assert len(said) == 1 and len(said.pop()) > 10_000


def test_very_long_and_very_short_vectors_have_a_direction() -> None:
    index = _index("flat", np.array([[1e30, 0], [0, 1e-30], [1, 1]], np.float32))
    for query in ([1e30, 0.0], [1e-30, 0.0], [3e38, 1e20]):
        distances, rows = index.search(np.array(query, np.float32), 1)
        assert rows.tolist() == [0] and distances[0] < 1e-6


def test_a_graph_finds_nearly_all_of_the_nearest() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, 32)).astype(np.float32)
    vectors = (centres[rng.integers(0, 50, 3000)] + 0.3 * rng.standard_normal((3000, 32))).astype(np.float32)
    queries = vectors[:200] + 0.1 * rng.standard_normal((200, 32)).astype(np.float32)
    flat, ann = _index("flat", vectors), _index("ann", vectors)
    shared = [
        len(np.intersect1d(a, b)) for a, b in zip(flat.search_many(queries, 5)[1], ann.search_many(queries, 5)[1])
    ]
    assert np.mean(shared) / 5 >= 0.97


@pytest.mark.parametrize("kind", ["flat", "ann"])
def test_threads_find_the_same(kind: str) -> None:
    index = _index(kind, _random(600, 16))
    queries = _random(40, 16, 1)
    expected = index.search_many(queries, 5)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    threads = [threading.Thread(target=lambda: found.append(index.search_many(queries, 5))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert all(np.array_equal(d, expected[0]) and np.array_equal(r, expected[1]) for d, r in found)


@pytest.mark.parametrize("kind", ["flat", "ann"])
def test_an_index_without_some_requests(kind: str) -> None:
    index = _index(kind, _random(50, 8))
    less = index.without(np.array([100, 105, 7]))
    assert less.kind == kind and less.size == 48 and not np.isin([100, 105], less.requests).any()
    assert less.search(index.vectors[5], 48)[1].max() == 47
    assert index.size == 50


def test_neighbours_are_the_newest_episodes_that_were_answered() -> None:
    task = hrm.Classification()
    full = np.zeros((1, 4), np.float32)
    full[0, 2] = 1.0
    episodes = hrm.Episodes.of(
        [
            episode(1, full=full),
            episode(2, full=None),
            episode(3, embedding=None),
            episode(4, embedding=np.full(8, np.inf, np.float16)),
            episode(5, digest=episode(1).digest, full=full),
            episode(6, full=np.zeros((2, 4), np.float32)),
        ]
    )
    index = neighbours_of(episodes, task)
    assert index is not None and index.kind == "flat"
    assert index.requests.tolist() == [5, 6] and index.labels.tolist() == [2, -1]
    assert neighbours_of(episodes.where(episodes.request == 2), task) is None
    assert neighbours_of(replace(episodes, embedding=None), task) is None
    assert neighbours_of(hrm.Episodes.of([]), task) is None


def test_a_graph_is_made_above_a_size_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = hrm.Episodes.of([episode(n) for n in range(30)])
    kinds = [getattr(neighbours_of(episodes, hrm.Classification(), ann_above=a), "kind", "") for a in (3, 4, None)]
    assert kinds == ["ann", "flat", "flat"]  # 30 of 8 numbers are 3.75 of 64
    monkeypatch.setattr("ronn_hrm.memory.index.has_ann", lambda: False)
    made = neighbours_of(episodes, hrm.Classification(), ann_above=1)
    assert made is not None and made.kind == "flat"


def test_without_usearch_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(UnsupportedError, match=r'hint: pip install "ronn-hrm\[ann\]"'):
        _index("ann", _random(3, 2))


def test_what_is_no_index_is_refused() -> None:
    with pytest.raises(OptionError, match="not of one set of inputs"):
        hrm.FlatIndex(_random(3, 2), np.zeros(2), np.zeros(3))
    with pytest.raises(OptionError, match="not finite"):
        hrm.FlatIndex(np.full((1, 2), np.nan), np.zeros(1), np.zeros(1))
    with pytest.raises(OptionError, match=r"a query of shape \[3\] for embeddings of 2 numbers"):
        _index("flat", _random(3, 2)).search(np.zeros(3), 1)
    with pytest.raises(StateError, match="no index of kind 'tree'"):
        index_from("tree", {})
    with pytest.raises(StateError, match="cannot be made"):
        index_from("flat", {"vectors": _random(3, 2)})
    good = _index("ann", _random(30, 4)).arrays()
    for graph in (good["graph"][:50], np.zeros(200, np.uint8), _index("ann", _random(20, 4)).arrays()["graph"]):
        with pytest.raises(StateError, match="the graph of an index"):
            index_from("ann", {**good, "graph": graph})
