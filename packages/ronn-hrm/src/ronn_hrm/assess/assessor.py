"""The assessor: the features of a request, as float32 numbers that replay to the bit."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import OptionError
from ronn_hrm.assess.groups import Confidence, Group, Neighbourhood, Seen
from ronn_hrm.contracts import Neighbours
from ronn_hrm.task import Task

Features = tuple[float, ...]


def own_groups() -> tuple[Group, ...]:
    """What is computed where nothing else is asked for: confidence, and the neighbourhood in memory."""
    return (Confidence(), Neighbourhood())


class Assessor:
    """Computes features: ``names`` of them, in order, for a task.

    groups: what they come from (default: confidence, and the neighbourhood in memory). Names must differ.
    """

    def __init__(self, task: Task, groups: Sequence[Group] | None = None) -> None:
        self.task = task
        self.groups = own_groups() if groups is None else tuple(groups)
        self.names = tuple(n for g in self.groups for n in g.names)
        if len(set(self.names)) != len(self.names):
            raise OptionError(f"two feature groups have the same names: {', '.join(self.names)}")
        self.uses_inputs = any(g.uses_inputs for g in self.groups)
        looking = [g.uses_inputs for g in self.groups for _ in g.names]
        self.of_inputs = [i for i, looks in enumerate(looking) if looks]
        """Which features are those of groups that look at the inputs."""
        self.k = max((g.k for g in self.groups if isinstance(g, Neighbourhood)), default=0)
        self._functions = [g.of for g in self.groups]

    def assess(
        self,
        answer: np.ndarray,
        embedding: np.ndarray | None,
        neighbours: Neighbours | None,
        inputs: Mapping[str, Any] | None = None,
    ) -> tuple[Features, tuple[int, ...]]:
        """The features of one request, and the request numbers of its nearest neighbours.

        answer: of the cheap model (``Task.answer``); embedding: float32 [dims] or None.
        """
        found = None
        if neighbours is not None and embedding is not None and self.k and neighbours.size:
            found = neighbours.search(embedding, self.k)
        return self._features(answer, found, neighbours, inputs)

    def _features(
        self,
        answer: np.ndarray,
        found: tuple[np.ndarray, np.ndarray] | None,
        neighbours: Neighbours | None,
        inputs: Mapping[str, Any] | None,
    ) -> tuple[Features, tuple[int, ...]]:
        task = self.task
        seen = Seen(task.scores(answer), task.label(answer), None, None, inputs if self.uses_inputs else None)
        near: tuple[int, ...] = ()
        if found is not None and neighbours is not None:
            seen.distances, rows = found
            seen.labels = neighbours.labels[rows]
            near = tuple(neighbours.requests[rows].tolist())
        numbers = array("f")
        for function in self._functions:
            numbers.extend(function(seen))
        return tuple(numbers), near

    def many(
        self,
        answers: Sequence[np.ndarray],
        embeddings: np.ndarray | None,
        neighbours: Neighbours | None,
        inputs: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> np.ndarray:
        """Features float64 [N, F] of many requests, as ``assess`` gives one by one. embeddings: float32 [N, dims]."""
        out = np.empty((len(answers), len(self.names)), np.float64)
        distances = rows = None
        if neighbours is not None and embeddings is not None and self.k and neighbours.size:
            distances, rows = neighbours.search_many(embeddings, self.k)
        for i, answer in enumerate(answers):
            found = None if distances is None or rows is None else (distances[i], rows[i])
            out[i] = self._features(answer, found, neighbours, None if inputs is None else inputs[i])[0]
        return out

    def as_data(self) -> dict[str, Any]:
        """What the features depend on, for fingerprints."""
        return {"task": self.task.as_data(), "groups": [g.as_data() for g in self.groups]}
