"""Decision forests as flat arrays, walked for many rows and all trees at once, one level a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.records import dataclass

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
LEAF = len(MODES)
MEMBER = MODES.index("BRANCH_MEMBER")
_COMPARE = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
_LANES = 1 << 16  # (row, tree) pairs walked at a time
_DENSE = 1 << 25  # most entries of a dense leaf table


@dataclass
class Forest:
    """Nodes of all trees in one numbering; a leaf's children are itself.

    ``leaf_ids`` and ``leaf_weights`` are ``[nodes, k]``: up to k (class or target, weight) pairs a leaf; unused ones
    have ``leaf_used`` False.
    """

    roots: np.ndarray
    features: np.ndarray
    values: np.ndarray
    modes: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    missing_yes: np.ndarray
    leaf_ids: np.ndarray
    leaf_weights: np.ndarray
    leaf_used: np.ndarray
    n_outputs: int
    members: dict[int, np.ndarray]

    def __post_init__(self) -> None:
        inner = np.unique(self.modes[self.modes != LEAF])
        self.single_mode = int(inner[0]) if inner.size == 1 and inner[0] != MEMBER else None
        self.any_missing = bool(self.missing_yes.any())
        self.inner = self.modes != LEAF
        self._check()
        k = self.leaf_ids.shape[1]
        self.dense: np.ndarray | None = None
        if k > 1 and self.features.size * self.n_outputs <= _DENSE:
            self.dense = np.zeros((self.features.size, self.n_outputs), self.leaf_weights.dtype)
            self.dense_used = np.zeros(self.dense.shape, bool)
            rows = np.arange(self.features.size)
            for j in range(k):
                np.add.at(self.dense, (rows, self.leaf_ids[:, j]), self.leaf_weights[:, j])
                self.dense_used[rows, self.leaf_ids[:, j]] |= self.leaf_used[:, j]

    def _check(self) -> None:
        n = self.features.size
        for name, at in (("true", self.yes), ("false", self.no), ("root", self.roots)):
            if at.size and (at.min() < 0 or at.max() >= n):
                raise ValueError(f"a {name} node of the trees does not exist")
        if self.leaf_ids.size and (self.leaf_ids.min() < 0 or self.leaf_ids.max() >= self.n_outputs):
            raise ValueError(f"a leaf names an output outside 0..{self.n_outputs - 1}")
        # Walking ends only without cycles: after as many steps as there are levels, all must stand on leaves.
        at = np.unique(self.roots)
        for _ in range(n + 1):
            at = at[self.inner[at]]
            if at.size == 0:
                return
            at = np.unique(np.concatenate([self.yes[at], self.no[at]]))
        raise ValueError("the trees have a cycle")

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """The leaf that each row of ``x`` reaches in each tree: ``[trees, rows]``."""
        n, width = x.shape
        if self.inner.any() and int(self.features[self.inner].max()) >= width:
            raise IndexError(f"a tree reads feature {int(self.features[self.inner].max())} of {width}")
        flat = np.ascontiguousarray(x).reshape(-1)
        start = np.tile(np.arange(n) * width, self.roots.size)
        at = np.repeat(self.roots, n)
        lanes = np.flatnonzero(self.inner[at])
        while lanes.size:
            here = at[lanes]
            value = flat[start[lanes] + self.features[here]]
            goes = self._test(here, value)
            here = np.where(goes, self.yes[here], self.no[here])
            at[lanes] = here
            lanes = lanes[self.inner[here]]
        return at.reshape(self.roots.size, n)

    def _test(self, here: np.ndarray, value: np.ndarray) -> np.ndarray:
        split = self.values[here]
        if self.single_mode is not None:
            goes = _COMPARE[self.single_mode](value, split)
        else:
            mode = self.modes[here]
            goes = np.zeros(here.size, bool)
            for m, compare in enumerate(_COMPARE):
                chosen = mode == m
                goes[chosen] = compare(value[chosen], split[chosen])
            for node in np.unique(here[mode == MEMBER]):
                chosen = here == node
                goes[chosen] = np.isin(value[chosen], self.members[int(node)])
        if self.any_missing:
            goes |= self.missing_yes[here] & np.isnan(value)
        return goes

    def run(self, x: np.ndarray, aggregate: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``[rows, outputs]`` and whether any tree gave one. ``aggregate``: SUM, AVERAGE, MIN or MAX.

        Trees are summed in order, in the type of the weights.
        """
        n = x.shape[0]
        scores = np.zeros((n, self.n_outputs), self.leaf_weights.dtype)
        seen = np.zeros((n, self.n_outputs), bool)
        step = max(1, _LANES // max(1, self.roots.size))
        for i in range(0, n, step):
            part = slice(i, min(i + step, n))
            for leaf in self.leaves(x[part]):
                self._collect(leaf, scores[part], seen[part], aggregate)
        if aggregate == "AVERAGE" and self.roots.size:
            scores /= scores.dtype.type(self.roots.size)
        return scores, seen

    def _collect(self, leaf: np.ndarray, scores: np.ndarray, seen: np.ndarray, aggregate: str) -> None:
        if self.dense is not None:
            self._combine(scores, seen, ..., self.dense[leaf], self.dense_used[leaf], aggregate)
            return
        rows = np.arange(leaf.size)
        for j in range(self.leaf_ids.shape[1]):
            index = (rows, self.leaf_ids[leaf, j])
            self._combine(scores, seen, index, self.leaf_weights[leaf, j], self.leaf_used[leaf, j], aggregate)

    @staticmethod
    def _combine(
        scores: np.ndarray, seen: np.ndarray, at: Any, new: np.ndarray, used: np.ndarray, aggregate: str
    ) -> None:
        if aggregate in ("SUM", "AVERAGE"):
            scores[at] += new
        else:
            pick = np.minimum if aggregate == "MIN" else np.maximum
            old, known = scores[at], seen[at]
            scores[at] = np.where(used, np.where(known, pick(old, new), new), old)
        seen[at] |= used


def pack_leaves(nodes: int, at: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """``leaf_ids``, ``leaf_weights``, ``leaf_used`` of a forest from one (node, id, weight) triple an entry."""
    order = np.argsort(at, kind="stable")
    at, ids, weights = at[order], ids[order], weights[order]
    slot = np.arange(at.size) - np.searchsorted(at, at)
    k = int(slot.max()) + 1 if slot.size else 1
    leaf_ids, leaf_weights = np.zeros((nodes, k), np.int64), np.zeros((nodes, k), weights.dtype)
    used = np.zeros((nodes, k), bool)
    leaf_ids[at, slot], leaf_weights[at, slot], used[at, slot] = ids, weights, True
    return leaf_ids, leaf_weights, used
