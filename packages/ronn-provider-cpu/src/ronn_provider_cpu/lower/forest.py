"""Decision forests as the node tables that ``ronn_codegen.templates.trees`` walks."""

from __future__ import annotations

import numpy as np

from ronn.records import dataclass
from ronn_codegen.templates.trees_table import NAN_IS_YES, NODE, TEST, WALKS
from ronn_provider_cpu.kernels._trees import MEMBER, MODES, Forest

_LEQ, _LT, _GTE, _GT, _EQ, _NEQ = (MODES.index(f"BRANCH_{m}") for m in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ"))
MOST_WEIGHTS = 1 << 24  # entries of a table of leaf weights
MOST_MEMBERS = 64  # of a set that a node tests for


class Unsuited(Exception):
    """The forest cannot be written as such tables; the text says why."""


@dataclass(frozen=True)
class Table:
    """A forest for ``trees_f32``: ``nodes`` (dtype ``NODE``), ``roots`` (int32, a multiple of 8 of them), ``depths``
    (int32: levels of each tree, then of each eight), whether any node sends NaN to "yes", ``classes`` (int32) or
    ``dense`` (float32), the other None, and the forest as tests where its trees are small. A row gets ``columns``
    scores: the outputs, and when ``marked`` as many marks of whether any tree gave that output."""

    nodes: np.ndarray
    roots: np.ndarray
    depths: np.ndarray
    nans: bool
    classes: np.ndarray | None
    dense: np.ndarray | None
    columns: int
    marked: bool
    tests: SmallTrees | None


@dataclass(frozen=True)
class SmallTrees:
    """A forest for ``trees_bits``: ``tests`` (dtype ``TEST``), ``starts`` (int32, one a tree and the end), and
    ``payloads`` (int32 [trees, 32 * words])."""

    words: int
    tests: np.ndarray
    starts: np.ndarray
    payloads: np.ndarray


@dataclass
class _Tests:
    """Inner nodes as ``value <= threshold``, with the node for yes and for no. Leaves keep their numbers of the forest;
    tests are numbered from ``leaves`` on."""

    thresholds: np.ndarray
    features: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    nan_yes: np.ndarray


def table_of(forest: Forest, lanes: int, marks: bool) -> Table:
    """The table of ``forest`` (float32). ``marks``: whether it matters which outputs a row got weights for. Raises
    Unsuited."""
    if forest.values.dtype != np.float32:
        raise Unsuited("trees over float64")
    n = forest.features.size
    tests, start = _tests(forest)
    marked = marks and not _all_marked(forest)
    classes = None if marked else _classes(forest)
    dense = None
    if classes is None:
        if forest.inner.size * forest.n_outputs > MOST_WEIGHTS:
            raise Unsuited("more leaf weights than a table should hold")
        payloads, dense = _dense(forest, marked, lanes)
    else:
        payloads = np.where(forest.leaf_used[:, 0], forest.leaf_weights[:, 0], np.float32(0)).view(np.int32)
    count = tests.features.size
    slots = np.concatenate([np.stack([tests.yes, tests.no], 1).reshape(-1), start[forest.roots]])
    nodes = np.zeros(slots.size + 2, NODE)
    filler = slots.size + 1  # a leaf that weighs nothing; slot 0 belongs to no leaf, whose child is the slot before
    nodes["threshold"] = np.nan
    nodes["child"] = np.arange(-1, slots.size + 1)
    place = np.arange(1, slots.size + 1)
    inner = slots >= n
    test = slots[inner] - n
    at = place[inner]
    nodes["threshold"][at] = tests.thresholds[test]
    nodes["feature"][at] = np.where(tests.nan_yes[test], tests.features[test] | NAN_IS_YES, tests.features[test])
    nodes["child"][at] = 1 + 2 * test
    nodes["payload"][place[~inner]] = payloads[slots[~inner]]
    trees = forest.roots.size
    filled = max(WALKS, -(-trees // WALKS) * WALKS)
    roots = np.full(filled, filler, np.int32)
    roots[:trees] = 1 + 2 * count + np.arange(trees)
    if classes is not None:
        classes = np.concatenate([classes, np.zeros(filled - trees, np.int32)])
    depths = np.ones(filled, np.int32)
    depths[:trees] = np.maximum(1, _depths(slots[slots.size - trees :], tests, n))
    depths = np.concatenate([depths, depths.reshape(-1, WALKS).max(1)])
    nans = bool(tests.nan_yes.any())
    small = _small_trees(tests, start[forest.roots], n, payloads, filled, 1 if lanes < WALKS else 2)
    return Table(nodes, roots, depths, nans, classes, dense, forest.n_outputs * (2 if marked else 1), marked, small)


def _tests(forest: Forest) -> tuple[_Tests, np.ndarray]:
    """All inner nodes as tests, and per node of the forest its first test (leaves: the node itself)."""
    n = forest.features.size
    inner = np.flatnonzero(forest.inner)
    modes, values = forest.modes[inner], forest.values[inner]
    swapped, equality = np.isin(modes, (_GTE, _GT)), np.isin(modes, (_EQ, _NEQ, MEMBER))
    if np.isnan(values[swapped]).any():
        raise Unsuited("a node compares with NaN")
    sets = {k: _members(forest, int(inner[k]), values[k]) for k in np.flatnonzero(equality).tolist()}
    lengths = np.ones(inner.size, np.int64)
    for k, members in sets.items():
        lengths[k] = max(1, 2 * members.size)
    first = np.cumsum(lengths) - lengths
    start = np.arange(n)
    start[inner] = n + first
    yes, no = start[forest.yes[inner]], start[forest.no[inner]]
    missing = forest.missing_yes[inner]
    out = _Tests(*(np.zeros(int(lengths.sum()), t) for t in (np.float32, np.int32, np.int64, np.int64, bool)))
    out.thresholds[first] = np.where(np.isin(modes, (_LT, _GTE)), _below(values), values)
    out.features[:] = np.repeat(forest.features[inner], lengths)
    out.yes[first], out.no[first] = np.where(swapped, no, yes), np.where(swapped, yes, no)
    out.nan_yes[first] = missing ^ swapped
    for k, members in sets.items():
        unequal = modes[k] == _NEQ
        hit, miss = (no[k], yes[k]) if unequal else (yes[k], no[k])
        _equality(out, int(first[k]), n, members, int(hit), int(miss), bool(missing[k]) and not unequal)
    return out, start


def _small_trees(
    tests: _Tests, roots: np.ndarray, n: int, payloads: np.ndarray, filled: int, words: int
) -> SmallTrees | None:
    """The trees as tests that strike out leaves; None where one has more leaves than ``words`` words have bits."""
    most = 32 * words
    levels: list[np.ndarray] = []  # trees and nodes [2, occurrences] of a level; children: all "yes", then all "no"
    at = np.stack([np.arange(roots.size), roots])
    seen = 0
    while at.size:
        seen += at.shape[1]
        if seen > 2 * most * roots.size:
            return None
        levels.append(at)
        trees, nodes = at[:, at[1] >= n]
        at = np.stack([np.tile(trees, 2), np.concatenate([tests.yes[nodes - n], tests.no[nodes - n]])])
    counts = [np.ones(level.shape[1], np.int64) for level in levels]  # of leaves
    for depth in range(len(levels) - 2, -1, -1):
        half = counts[depth + 1].size // 2
        counts[depth][levels[depth][1] >= n] = counts[depth + 1][:half] + counts[depth + 1][half:]
    if roots.size and int(counts[0].max()) > most:
        return None
    words = 1 if not roots.size or int(counts[0].max()) <= 32 else 2
    table = np.zeros((filled, 32 * words), np.int32)
    found: list[tuple[np.ndarray, ...]] = []
    first = np.zeros(roots.size, np.int64)  # leaves to the left
    for depth, (trees, nodes) in enumerate(levels):
        inner = nodes >= n
        table[trees[~inner], first[~inner]] = payloads[nodes[~inner]]
        if depth + 1 < len(levels):
            under_yes = counts[depth + 1][: counts[depth + 1].size // 2]
            found.append((trees[inner], nodes[inner] - n, first[inner], under_yes))
            first = np.concatenate([first[inner], first[inner] + under_yes])
    trees, which, left, under_yes = (
        np.concatenate([part[i] for part in found]) if found else np.zeros(0, np.int64) for i in range(4)
    )
    order = np.argsort(trees, kind="stable")
    trees, which, left, under_yes = trees[order], which[order], left[order], under_yes[order]
    made = np.zeros(which.size, TEST)
    made["threshold"] = tests.thresholds[which]
    made["feature"] = np.where(tests.nan_yes[which], tests.features[which] | NAN_IS_YES, tests.features[which])
    one = np.uint64(1)
    struck = ((one << under_yes.astype(np.uint64)) - one) << left.astype(np.uint64)
    made["kept"] = np.stack([~struck, ~struck >> np.uint64(32)], 1).astype(np.uint32)
    return SmallTrees(words, made, np.searchsorted(trees, np.arange(filled + 1)).astype(np.int32), table)


def _depths(roots: np.ndarray, tests: _Tests, n: int) -> np.ndarray:
    """How many tests a row meets at most from each of ``roots`` on."""
    depths = np.zeros(roots.size, np.int32)
    trees, at = np.arange(roots.size), roots
    while at.size:
        inner = at >= n
        trees, at = trees[inner], at[inner] - n
        depths[trees] += 1  # once for each tree that goes on, however often it is named
        pairs = np.stack([np.tile(trees, 2), np.concatenate([tests.yes[at], tests.no[at]])], 1)
        trees, at = np.unique(pairs, axis=0).T
    return depths


def _members(forest: Forest, node: int, value: float) -> np.ndarray:
    members = np.unique(forest.members[node]) if node in forest.members else np.array([value], np.float32)
    if members.size > MOST_MEMBERS:
        raise Unsuited("a node tests for a set of many values")
    return members


def _equality(out: _Tests, at: int, n: int, members: np.ndarray, hit: int, miss: int, nan_hits: bool) -> None:
    """Tests from ``at`` on that lead to ``hit`` for a value among ``members`` (ascending), else to ``miss``.

    Two tests a member v: value <= v leads to the second, which is value <= what is below v; past the last, a miss.
    """
    if members.size == 0:
        out.thresholds[at], out.yes[at], out.no[at], out.nan_yes[at] = np.nan, hit, miss, nan_hits
        return
    for i, v in enumerate(members):
        a, b = at + 2 * i, at + 2 * i + 1
        out.thresholds[a], out.thresholds[b] = v, _below(v)
        out.yes[a], out.no[a] = n + b, n + b + 1 if i + 1 < members.size else miss
        out.yes[b], out.no[b] = miss, hit
        out.nan_yes[a], out.nan_yes[b] = nan_hits and i == 0, False


def _below(v: np.ndarray) -> np.ndarray:
    """The thresholds t for which x <= t means x < v."""
    with np.errstate(all="ignore"):
        return np.where(np.isneginf(v), np.float32(np.nan), np.nextafter(v, np.float32(-np.inf)))


def _trees_of_leaves(forest: Forest) -> np.ndarray:
    """Pairs (tree, leaf) [pairs, 2] of all leaves that each tree can reach."""
    at = np.stack([np.arange(forest.roots.size), forest.roots], 1)
    found = []
    while at.size:
        inner = forest.inner[at[:, 1]]
        found.append(at[~inner])
        trees, nodes = at[inner].T
        at = np.concatenate([np.stack([trees, forest.yes[nodes]], 1), np.stack([trees, forest.no[nodes]], 1)])
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _classes(forest: Forest) -> np.ndarray | None:
    """The one output (int32) that each tree adds to; None where some tree adds to several."""
    if forest.leaf_ids.shape[1] != 1:
        return None
    trees, leaves = _trees_of_leaves(forest).T
    used = forest.leaf_used[leaves, 0]
    trees, ids = trees[used], forest.leaf_ids[leaves[used], 0]
    classes = np.zeros(forest.roots.size, np.int32)
    classes[trees] = ids
    return classes if bool((classes[trees] == ids).all()) else None


def _all_marked(forest: Forest) -> bool:
    """Whether the largest score is the same without those that no tree gave: some tree always gives each output,
    or all weights are positive and every leaf has one, so that one that nobody gave is never the largest."""
    if bool((forest.leaf_weights[forest.leaf_used] > 0).all()) and bool(forest.leaf_used[~forest.inner].any(1).all()):
        return True
    trees, leaves = _trees_of_leaves(forest).T
    gives = np.ones((forest.roots.size, forest.n_outputs), bool)
    for output in range(forest.n_outputs):
        given = (forest.leaf_used & (forest.leaf_ids == output)).any(1)[leaves]
        np.logical_and.at(gives[:, output], trees, given)
    return bool(gives.any(0).all())


def _dense(forest: Forest, marked: bool, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (int32) of the forest's nodes in a table of weights, and the table, whose row 0 is zeros."""
    leaves = np.flatnonzero(~forest.inner)
    k = forest.n_outputs
    table = np.zeros((leaves.size + 1, k * (2 if marked else 1)), np.float32)
    rows = np.arange(1, leaves.size + 1)
    for j in range(forest.leaf_ids.shape[1]):
        used = forest.leaf_used[leaves, j]
        ids = forest.leaf_ids[leaves[used], j]
        np.add.at(table, (rows[used], ids), forest.leaf_weights[leaves[used], j])
        if marked:
            table[rows[used], k + ids] = 1
    payloads = np.zeros(forest.inner.size, np.int32)
    payloads[leaves] = rows
    return payloads, np.concatenate([table.reshape(-1), np.zeros(lanes, np.float32)])
