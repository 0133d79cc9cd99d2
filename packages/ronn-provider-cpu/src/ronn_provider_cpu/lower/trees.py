"""ai.onnx.ml: TreeEnsembleClassifier, TreeEnsembleRegressor and TreeEnsemble, in float32."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn_codegen.templates.ml_layout import POSTS
from ronn_codegen.templates.trees_table import WALKS, group_of, reach_bytes, scratch_bytes
from ronn_provider_cpu.kernels._scores import as_array
from ronn_provider_cpu.kernels._trees import Forest
from ronn_provider_cpu.kernels.ml_tree import AGGREGATES, _forest, _forest_5, _tensor_or_list
from ronn_provider_cpu.lower._scores import finish, labels_of, post_of, rows_and_width
from ronn_provider_cpu.lower.forest import Table, Unsuited, table_of
from ronn_provider_cpu.lowering import F32, Lowering, Operand, Temporary, lower

ML = "ai.onnx.ml"
_TREES = "ronn_codegen.templates.trees"
_STEP_NS = 1.0  # of one level of one tree and row
_TEST_NS = 1.0  # of one test of a vector of rows
_SERIAL_NS = 10_000.0  # walks that take less are not shared out
_KEPT = 8
_tables: OrderedDict[int, tuple[Any, Forest, Table]] = OrderedDict()


def _table(c: Lowering, key: Any, marks: bool, build: Callable[[], Forest]) -> tuple[Forest, Table]:
    """The forest and its table. Kept by the identity of ``key``, an attribute: each new shape lowers the node again."""
    found = _tables.get(id(key))
    if found is not None and found[0] is key:
        _tables.move_to_end(id(key))
        return found[1], found[2]
    try:
        forest = build()
        table = table_of(forest, c.machine.target.lanes(32), marks)
    except Unsuited as e:
        c.refuse(str(e))
    except (ValueError, IndexError, KeyError) as e:  # of a malformed forest, which the NumPy kernel reports
        c.refuse(f"malformed trees: {e}")
    _tables[id(key)] = (key, forest, table)
    if len(_tables) > _KEPT:
        _tables.popitem(last=False)
    return forest, table


def _walk(
    c: Lowering, x: Operand, forest: Forest, table: Table, base: np.ndarray, average: bool, out: Operand | Temporary
) -> None:
    """Calls that put scores [rows, table.columns] to ``out``."""
    rows, width = rows_and_width(x)
    inner = forest.features[forest.inner]
    c.require(inner.size == 0 or int(inner.max()) < width, "a tree reads a feature that there is not")
    trees, k = table.roots.size, table.columns
    lanes = c.machine.target.lanes(32)
    group, small = group_of(lanes), table.tests
    groups = -(-rows // group)
    if small is not None and rows > 2:
        walking = groups * group / lanes * small.tests.size * _TEST_NS
    else:
        levels = max(1.0, np.log2(1 + inner.size / max(1, forest.roots.size)))
        walking = rows * trees * levels * _STEP_NS
    common: dict[str, Any] = {
        "x": x, "rows": rows, "width": width, "nodes": table.nodes, "roots": table.roots, "depths": table.depths,
        "nans": int(table.nans), "trees": trees, "words": 0 if small is None else small.words,
        "tests": 0 if small is None else small.tests, "starts": 0 if small is None else small.starts,
        "payloads": 0 if small is None else small.payloads,
    }  # fmt: skip
    reached: Temporary | int = 0
    if groups == 1 and walking > _SERIAL_NS:
        reached = c.temp(4 * group * trees)
        chunks, size = min(trees // WALKS, 8), reach_bytes(width, lanes)
        c.call(
            _TREES, "trees_reach_f32", **common, scratch=c.temp(size * chunks), apart=size, leaves=reached,
            chunks=chunks, cost=walking,
        )  # fmt: skip
        walking = 0.0
    chunks = min(groups, 16)
    size = scratch_bytes(trees, k, width, lanes)
    if table.marked and base.size:
        base = np.concatenate([base, np.zeros(k - base.size, np.float32)])
    c.call(
        _TREES, "trees_f32", **common, classes=_or_zero(table.classes), dense=_or_zero(table.dense), k=k,
        base=np.ascontiguousarray(base) if base.size else 0, count=float(forest.roots.size) if average else 1.0,
        reached=reached, scratch=c.temp(size * chunks), apart=size, y=out,
        chunks=chunks, cost=walking + rows * trees * (0.5 if table.dense is None else 1.5),
    )  # fmt: skip


def _or_zero(array: np.ndarray | None) -> np.ndarray | int:
    return 0 if array is None else array


def _attributes(c: Lowering) -> Any:
    """The node for functions of NumPy kernels that only read its attributes."""
    return c


def _aggregate(c: Lowering, aggregate: str) -> bool:
    """Whether sums are divided by the number of trees."""
    c.require(aggregate in ("SUM", "AVERAGE"), f"aggregate {aggregate}")
    return aggregate == "AVERAGE"


def _input(c: Lowering) -> Operand:
    x = c.inputs[0]
    assert x is not None
    c.require(x.dtype == F32, f"only float32, not {x.dtype}")
    return x


@lower("TreeEnsembleRegressor", domain=ML)
def tree_ensemble_regressor(c: Lowering) -> None:
    """TreeEnsembleRegressor."""
    x, y = _input(c), c.outputs[0]
    assert y is not None
    targets = c.attr("n_targets", 1)
    post = post_of(c)
    average = _aggregate(c, c.attr("aggregate_function", "SUM"))
    forest, table = _table(c, c.attr("nodes_modes"), False, lambda: _forest(_attributes(c), F32, "target", targets))
    base = _tensor_or_list(_attributes(c), "base_values", F32)
    c.require(base.size in (0, 1, targets), "base values that are not one a target")
    _walk(c, x, forest, table, np.repeat(base, targets) if base.size == 1 else base, average, y)
    if post:
        finish(c, y, y.shape[0], targets, post=post, y=y)


@lower("TreeEnsembleClassifier", domain=ML)
def tree_ensemble_classifier(c: Lowering) -> None:
    """TreeEnsembleClassifier with int64 labels."""
    x = _input(c)
    labels = labels_of(c, "classlabels_int64s")
    post = post_of(c)
    ids = as_array(c.attr("class_ids"), np.int64)
    k = max(labels.size, int(ids.max(initial=0)) + 1)
    c.require(labels.size >= k, "weights of classes that have no label")
    base = _tensor_or_list(_attributes(c), "base_values", F32)
    c.require(base.size in (0, k), "base values that are not one a class")
    only = int(ids[0]) if labels.size == 2 and np.unique(ids).size == 1 else -1
    marks = only < 0 and not base.size
    forest, table = _table(c, c.attr("nodes_modes"), marks, lambda: _forest(_attributes(c), F32, "class", k))
    rows, _ = rows_and_width(x)
    raw = c.temp(4 * rows * table.columns)
    _walk(c, x, forest, table, base, False, raw)
    positive = bool((forest.leaf_weights >= 0).all())
    both = 0 if only != 0 else 2 if positive and POSTS[post] != "LOGISTIC" else 1
    finish(
        c, raw, rows, k, ld=table.columns, seen=k if table.marked else 0, column=only,
        threshold=0.5 if positive else 0.0, labels=labels, label=c.outputs[0], both=both,
        post=post if both == 0 or POSTS[post] == "LOGISTIC" else 0, y=c.outputs[1],
    )  # fmt: skip


@lower("TreeEnsemble", domain=ML)
def tree_ensemble(c: Lowering) -> None:
    """TreeEnsemble."""
    x, y = _input(c), c.outputs[0]
    assert y is not None
    targets = c.attr("n_targets", 1)
    post = post_of(c, ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")[c.attr("post_transform", 0)])
    average = _aggregate(c, AGGREGATES[c.attr("aggregate_function", 1)])
    forest, table = _table(c, c.attr("nodes_modes"), False, lambda: _forest_5(_attributes(c), F32))
    _walk(c, x, forest, table, np.zeros(0, np.float32), average, y)
    if post:
        finish(c, y, y.shape[0], targets, post=post, y=y)
