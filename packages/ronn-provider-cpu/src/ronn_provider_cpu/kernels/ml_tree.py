"""ai.onnx.ml: TreeEnsembleClassifier, TreeEnsembleRegressor, TreeEnsemble."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._scores import TRANSFORMS, as_array, both_classes, class_labels, rows_of, transform
from ronn_provider_cpu.kernels._trees import LEAF, MEMBER, MODES, Forest, pack_leaves

ML = "ai.onnx.ml"
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


def _input_dtype(ctx: KernelContext) -> np.dtype:
    first = ctx.inputs[0]
    double = first is not None and first.dtype is not None and first.dtype.numpy == np.float64
    return np.dtype(np.float64 if double else np.float32)


def _tensor_or_list(ctx: KernelContext, name: str, dtype: np.dtype) -> np.ndarray:
    tensor = ctx.attr(f"{name}_as_tensor")
    if tensor is not None and np.asarray(tensor).size:
        return as_array(tensor, dtype)
    return as_array(ctx.attr(name), np.float32).astype(dtype)


class _Places:
    """Where the nodes of trees stand in lists that name them by (tree, node); the last of equal names counts."""

    def __init__(self, trees: np.ndarray, nodes: np.ndarray) -> None:
        count = min(trees.size, nodes.size)
        self.trees, tree = np.unique(trees[:count], return_inverse=True)
        self.nodes, node = np.unique(nodes[:count], return_inverse=True)
        keys = tree * self.nodes.size + node
        self.order = np.argsort(keys, kind="stable")
        self.keys = keys[self.order]

    def find(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """The place of each node, -1 for one that is not there."""
        count = min(trees.size, nodes.size)
        trees, nodes = trees[:count], nodes[:count]
        if self.keys.size == 0:
            return np.full(count, -1)
        tree = np.minimum(np.searchsorted(self.trees, trees), self.trees.size - 1)
        node = np.minimum(np.searchsorted(self.nodes, nodes), self.nodes.size - 1)
        keys = tree * self.nodes.size + node
        at = np.maximum(np.searchsorted(self.keys, keys, side="right") - 1, 0)
        known = (self.trees[tree] == trees) & (self.nodes[node] == nodes) & (self.keys[at] == keys)
        return np.where(known, self.order[at], -1)


def _forest(ctx: KernelContext, dtype: np.dtype, prefix: str, n_outputs: int) -> Forest:
    """The forest of the older operators, whose nodes are named by (tree, node)."""
    trees, ids = as_array(ctx.attr("nodes_treeids"), np.int64), as_array(ctx.attr("nodes_nodeids"), np.int64)
    places = _Places(trees, ids)
    modes = np.array([LEAF if m == "LEAF" else MODES.index(m) for m in ctx.attr("nodes_modes")], np.int64)
    itself = np.arange(trees.size)

    def target(name: str) -> np.ndarray:
        to = as_array(ctx.attr(name), np.int64)
        return np.where(modes == LEAF, itself, places.find(trees, to))

    yes, no = target("nodes_truenodeids"), target("nodes_falsenodeids")
    child = np.zeros(trees.size, bool)
    inner = modes != LEAF
    child[yes[inner & (yes >= 0)]] = True
    child[no[inner & (no >= 0)]] = True
    missing = as_array(ctx.attr("nodes_missing_value_tracks_true"), np.int64)
    at = places.find(*(as_array(ctx.attr(f"{prefix}_{ids}"), np.int64) for ids in ("treeids", "nodeids")))
    if (at < 0).any():
        raise ValueError("a leaf of the trees does not exist")
    leaves = pack_leaves(
        trees.size,
        at,
        as_array(ctx.attr(f"{prefix}_ids"), np.int64),
        _tensor_or_list(ctx, f"{prefix}_weights", dtype),
    )
    return Forest(
        roots=np.flatnonzero(~child),
        features=as_array(ctx.attr("nodes_featureids"), np.int64),
        values=_tensor_or_list(ctx, "nodes_values", dtype),
        modes=modes,
        yes=yes,
        no=no,
        missing_yes=missing.astype(bool) if missing.size else np.zeros(trees.size, bool),
        leaf_ids=leaves[0],
        leaf_weights=leaves[1],
        leaf_used=leaves[2],
        n_outputs=n_outputs,
        members={},
    )


@kernel("TreeEnsembleRegressor", domain=ML, prepare=True)
def tree_ensemble_regressor(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """TreeEnsembleRegressor: float32 ``[rows, targets]``."""
    dtype = _input_dtype(ctx)
    forest = _forest(ctx, dtype, "target", ctx.attr("n_targets", 1))
    base = _tensor_or_list(ctx, "base_values", dtype)
    aggregate, post = ctx.attr("aggregate_function", "SUM"), ctx.attr("post_transform", "NONE")

    def call(x: np.ndarray) -> np.ndarray:
        scores, _ = forest.run(rows_of(x).astype(dtype, copy=False), aggregate)
        if base.size:
            scores += base
        return transform(scores, post).astype(np.float32, copy=False)

    return call


@kernel("TreeEnsembleClassifier", domain=ML, prepare=True)
def tree_ensemble_classifier(ctx: KernelContext) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """TreeEnsembleClassifier: labels ``[rows]`` and float32 scores ``[rows, classes]``.

    Two labels but weights of the first class only is how converters write a binary classifier: that score is the second
    label's. The label is then found by a threshold, which is 0.5 where no weight is negative, else 0.
    """
    dtype = _input_dtype(ctx)
    labels = class_labels(ctx, "classlabels_int64s")
    ids = as_array(ctx.attr("class_ids"), np.int64)
    forest = _forest(ctx, dtype, "class", max(labels.size, int(ids.max(initial=0)) + 1))
    base = _tensor_or_list(ctx, "base_values", dtype)
    post = ctx.attr("post_transform", "NONE")
    positive = bool((forest.leaf_weights >= 0).all())
    only = int(ids[0]) if labels.size == 2 and np.unique(ids).size == 1 else None
    threshold = 0.5 if positive else 0.0

    def call(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, seen = forest.run(rows_of(x).astype(dtype, copy=False), "SUM")
        if base.size:
            scores += base
            seen[:] = True
        if only is not None:
            label = labels[(scores[:, only] > threshold).astype(np.int64)]
            if only == 0:
                return label, both_classes(scores[:, 0], post, positive).astype(np.float32, copy=False)
            return label, transform(scores, post).astype(np.float32, copy=False)
        best = np.argmax(np.where(seen, scores, -np.inf), axis=1)
        return labels[best], transform(scores, post).astype(np.float32, copy=False)

    return call


@kernel("TreeEnsemble", domain=ML, prepare=True)
def tree_ensemble(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """TreeEnsemble (version 5): ``[rows, targets]`` in the type of the input."""
    dtype = ctx.dtype()
    compute = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    forest = _forest_5(ctx, compute)
    aggregate = AGGREGATES[ctx.attr("aggregate_function", 1)]
    post = tuple(TRANSFORMS)[(0, 2, 1, 3, 4)[ctx.attr("post_transform", 0)]]

    def call(x: np.ndarray) -> np.ndarray:
        scores, _ = forest.run(rows_of(x).astype(compute, copy=False), aggregate)
        return transform(scores, post).astype(dtype, copy=False)

    return call


def _forest_5(ctx: KernelContext, dtype: np.dtype) -> Forest:
    """Inner nodes come first in the numbering, leaves behind them."""
    modes = as_array(ctx.attr("nodes_modes"), np.int64)
    n = modes.size
    weights = as_array(ctx.attr("leaf_weights"), dtype)
    itself = np.arange(n, n + weights.size)

    def target(to: str, leaf: str) -> np.ndarray:
        ids, is_leaf = as_array(ctx.attr(to), np.int64), as_array(ctx.attr(leaf), np.int64)
        return np.concatenate([np.where(is_leaf != 0, ids + n, ids), itself])

    def padded(values: Any, kind: Any) -> np.ndarray:
        given = as_array(values, kind)
        return np.concatenate([given if given.size else np.zeros(n, kind), np.zeros(weights.size, kind)])

    targets = as_array(ctx.attr("leaf_targetids"), np.int64)
    leaf_ids, leaf_weights, used = pack_leaves(n + weights.size, itself, targets, weights)
    return Forest(
        roots=as_array(ctx.attr("tree_roots"), np.int64),
        features=padded(ctx.attr("nodes_featureids"), np.int64),
        values=padded(ctx.attr("nodes_splits"), dtype),
        modes=np.concatenate([modes, np.full(weights.size, LEAF)]),
        yes=target("nodes_truenodeids", "nodes_trueleafs"),
        no=target("nodes_falsenodeids", "nodes_falseleafs"),
        missing_yes=padded(ctx.attr("nodes_missing_value_tracks_true"), np.int64).astype(bool),
        leaf_ids=leaf_ids,
        leaf_weights=leaf_weights,
        leaf_used=used,
        n_outputs=ctx.attr("n_targets", 1),
        members=_members(modes, as_array(ctx.attr("membership_values"), dtype)),
    )


def _members(modes: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    """The set of each MEMBER node: the sets stand in node order, each ended by NaN."""
    ends = np.flatnonzero(np.isnan(values))
    starts = [0, *(ends + 1).tolist()]
    nodes = np.flatnonzero(modes == MEMBER)
    stops = [*ends.tolist(), values.size]
    return {int(node): values[a:b] for node, a, b in zip(nodes, starts, stops)}
