"""Remembered inputs that can be searched by cosine: all of them compared, or, from a size on, a graph of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import OptionError, UnsupportedError
from ronn_hrm.errors import StateError

if TYPE_CHECKING:
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.task import Task

ANN_ABOVE = 20_000
"""Inputs of 64 numbers (and fewer, the longer they are) above which ``neighbours_of`` makes a graph: there a search of
it takes less time than a comparison with all, about 0.13 ms, and making it takes two seconds of one core."""
_FEW = 32
"""Neighbours up to which taking the nearest again and again is quicker than a partial sort."""
_ROUNDING = 2.0**-24
_CONNECTIVITY, _BUILD, _SEARCH = 12, 64, 48


class FlatIndex:
    """Compares a query with all M embeddings: about 31 µs for 5000 of 64 numbers on one core.

    vectors: [M, D], of any length but finite; a zero one is as far from everything as can be told (distance 1).
    labels: int32 [M], -1 where there is none. requests: int64 [M]. All are copied. unit: the vectors are of length 1
    already (those of another index), and are to stay as they are, to the bit. Immutable: any thread may search.
    """

    kind = "flat"

    def __init__(self, vectors: np.ndarray, labels: np.ndarray, requests: np.ndarray, *, unit: bool = False) -> None:
        vectors = np.asarray(vectors, np.float32)
        self._labels = np.array(labels, np.int32)
        self._requests = np.array(requests, np.int64)
        if vectors.ndim != 2 or not len(vectors) == len(self._labels) == len(self._requests):
            raise OptionError(
                f"embeddings {list(vectors.shape)}, labels {list(self._labels.shape)} and requests "
                f"{list(self._requests.shape)} are not of one set of inputs",
                hint="[M, D], [M] and [M]",
            )
        if not np.isfinite(vectors).all():
            raise OptionError("an embedding is not finite", hint="leave such inputs out, as neighbours_of does")
        self._rows = np.array(vectors if unit else normalised(vectors), order="C")
        # By columns too: a query costs three fifths of what it costs by rows, as sums go on over all inputs at once.
        self._columns = np.ascontiguousarray(self._rows.T)
        for array in (self._rows, self._columns, self._labels, self._requests):
            array.flags.writeable = False

    @property
    def size(self) -> int:
        return len(self._labels)

    @property
    def dims(self) -> int:
        return int(self._rows.shape[1])

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    @property
    def requests(self) -> np.ndarray:
        return self._requests

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return 2 * self._rows.nbytes + self._labels.nbytes + self._requests.nbytes

    @property
    def vectors(self) -> np.ndarray:
        """Embeddings of length 1: float32 [M, D]."""
        return self._rows

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest to ``query`` [D], or all where there are fewer: distances float32 (1 - cosine, ascending)
        and rows int64; of equally near ones the older first. A query that is zero or not finite has distance 1 to all.
        """
        query = _unit(query, self.dims)
        # BLAS rounds differently on another number of threads, and at the ends of their parts; so it only says which
        # rows cannot be among the nearest: products of vectors of length 1 are off by D roundings at most.
        return self._exact(query, _candidates(query @ self._columns, k, 4 * self.dims * _ROUNDING), k)

    def _exact(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest of some rows (ascending), each computed by itself: what a row gives depends on nothing
        else."""
        distances = np.maximum(1.0 - np.vecdot(self._rows.take(rows, axis=0), query), 0.0)
        order = distances.argsort(kind="stable")[:k]
        return distances[order], rows[order]

    def search_many(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """For rows [N, D]: [N, k] each, as ``search`` gives one by one, to the bit."""
        return _many(self, queries, k)

    def without(self, requests: np.ndarray) -> FlatIndex:
        """An index that lacks the inputs of some requests."""
        keep = ~np.isin(self._requests, requests)
        return type(self)(self.vectors[keep], self._labels[keep], self._requests[keep], unit=True)

    def arrays(self) -> dict[str, np.ndarray]:
        """What the index is made of, for ``index_from``."""
        return {"vectors": self._rows, "labels": self._labels, "requests": self._requests}


class AnnIndex(FlatIndex):
    """The same by a navigable graph (HNSW, arXiv 1603.09320; usearch): in time that hardly grows with M, and now and
    then without one of the nearest. Distances are exact, and the same query finds the same each time.

    graph: what ``arrays`` gave, to be spared the making of it. Raises UnsupportedError where usearch is not installed.
    """

    kind = "ann"

    def __init__(
        self,
        vectors: np.ndarray,
        labels: np.ndarray,
        requests: np.ndarray,
        *,
        unit: bool = False,
        graph: np.ndarray | None = None,
    ) -> None:
        super().__init__(vectors, labels, requests, unit=unit)
        self._graph = _new_graph(self.dims)
        if graph is None:
            # One thread: several would make another graph each time.
            self._graph.add(np.arange(self.size, dtype=np.uint64), self._rows, threads=1)
        else:
            try:
                self._graph.load(np.asarray(graph, np.uint8).tobytes())
            except Exception as e:  # usearch raises whatever its C++ does
                raise StateError(f"the graph of an index cannot be read: {e}", hint="the state is damaged") from e
            if len(self._graph) != self.size:
                raise StateError("the graph of an index is of other inputs", hint="the state is damaged")

    @property
    def nbytes(self) -> int:
        return super().nbytes + int(self._graph.memory_usage)

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, self.size)
        unit = _unit(query, self.dims)
        if k == 0 or not unit.any():
            return super().search(query, k)
        rows = self._graph.search(unit, k, threads=1).keys.astype(np.int64)
        if len(rows) < k:
            return super().search(query, k)
        rows.sort()
        return self._exact(unit, rows, k)

    def arrays(self) -> dict[str, np.ndarray]:
        return super().arrays() | {"graph": np.frombuffer(self._graph.save(), np.uint8)}


def index_from(kind: str, arrays: dict[str, np.ndarray]) -> FlatIndex:
    """The index that has given ``arrays``."""
    kinds: dict[str, type[FlatIndex]] = {FlatIndex.kind: FlatIndex, AnnIndex.kind: AnnIndex}
    made = kinds.get(kind)
    if made is None:
        raise StateError(f"there is no index of kind {kind!r}", hint="use the version that wrote the state")
    try:
        return made(**arrays, unit=True)
    except (TypeError, OptionError) as e:
        raise StateError(f"an index of kind {kind!r} cannot be made of what is kept: {e}") from e


def neighbours_of(episodes: Episodes, task: Task, *, ann_above: int | None = ANN_ABOVE) -> FlatIndex | None:
    """An index of those episodes that have a finite embedding and an answer of the expensive model, which gives the
    label; of several of one digest the newest. None where there is none.

    ann_above: a graph is made of more inputs of 64 numbers than this, where usearch is installed; None: never.
    """
    if episodes.embedding is None:
        return None
    newest = {digest: row for row, digest in enumerate(episodes.digest) if episodes.full[row] is not None}
    rows = np.array(sorted(newest.values()), np.int64)
    rows = rows[np.isfinite(episodes.embedding[rows]).all(axis=1)] if len(rows) else rows
    if not len(rows):
        return None
    labels = [task.label(full) for full in (episodes.full[row] for row in rows) if full is not None]
    made: dict[str, Any] = {
        "vectors": episodes.embedding[rows],
        "labels": np.array([-1 if label is None else label for label in labels], np.int32),
        "requests": episodes.request[rows],
    }
    if ann_above is not None and made["vectors"].size > 64 * ann_above and has_ann():
        return AnnIndex(**made)
    return FlatIndex(**made)


def has_ann() -> bool:
    """Whether usearch can be imported."""
    from importlib.util import find_spec

    return find_spec("usearch") is not None


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Rows [M, D] brought to length 1, as float32; zero ones stay."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0), np.float32)


def _unit(query: np.ndarray, dims: int) -> np.ndarray:
    """A query [dims] brought to length 1 as float32; zeros where it is zero or not finite."""
    exact = np.ascontiguousarray(query, np.float64)  # holds the square of any float32
    if exact.shape != (dims,):
        raise OptionError(f"a query of shape {list(exact.shape)} for embeddings of {dims} numbers")
    length = math.sqrt(exact.dot(exact))
    if not 0.0 < length < math.inf:
        return np.zeros(dims, np.float32)
    return (exact * (1.0 / length)).astype(np.float32)


def _candidates(similar: np.ndarray, k: int, slack: float) -> np.ndarray:
    """Rows, ascending, of float32 [M] that are at most ``slack`` below the k-th largest. Changes ``similar``."""
    k = min(k, len(similar))
    if k > _FEW:
        bound = np.partition(similar, len(similar) - k)[len(similar) - k]
        return np.flatnonzero(similar >= bound - slack)
    rows: list[int] = []
    bound = math.inf
    largest, value_at = similar.argmax, similar.item
    while len(rows) < len(similar):
        row = int(largest())
        value = value_at(row)
        if len(rows) < k:
            bound = value
        elif value < bound - slack:
            break
        elif len(rows) >= k + _FEW:  # equal ones in plenty
            return np.sort(np.concatenate([rows, np.flatnonzero(similar >= bound - slack)]).astype(np.int64))
        rows.append(row)
        similar[row] = -math.inf
    rows.sort()
    return np.array(rows, np.int64)


def _many(index: FlatIndex, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    k = min(k, index.size)
    distances = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for at, query in enumerate(queries):
        distances[at], rows[at] = index.search(query, k)
    return distances, rows


def _new_graph(dims: int) -> Any:
    try:
        from usearch.index import Index
    except ImportError as e:
        raise UnsupportedError(
            "a graph of neighbours needs usearch, which is not installed", hint='pip install "ronn-hrm[ann]"'
        ) from e
    return Index(
        ndim=dims, metric="ip", dtype="f32", connectivity=_CONNECTIVITY, expansion_add=_BUILD, expansion_search=_SEARCH
    )
