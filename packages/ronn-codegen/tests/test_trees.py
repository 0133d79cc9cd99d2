"""Forest kernels against a walk in plain Python, for every target, mode and number of shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.native.library import library
from ronn_codegen.native.machine import machine
from ronn_codegen.templates.trees_table import NAN_IS_YES, NODE, WALKS, group_of, reach_bytes, scratch_bytes

MODULE = "ronn_codegen.templates.trees"
LEVELS = ["native", "avx2", "baseline"]


def forest(rng: np.random.Generator, trees: int, features: int, outputs: int, weights: bool, nans: float):
    """Nodes, roots, leaf weights: random trees of up to six levels, and ``trees`` rounded up with empty ones."""
    nodes: list[tuple[float, int, int, int]] = []
    leaves: list[np.ndarray] = [np.zeros(outputs, np.float32)]
    classes = rng.integers(0, outputs, trees).astype(np.int32)

    def leaf(at: int, tree: int) -> None:
        payload = int(np.float32(rng.normal()).view(np.int32)) if weights else len(leaves)
        leaves.append(rng.normal(size=outputs).astype(np.float32))
        nodes[at] = (np.nan, 0, at - 1, payload)

    def grow(at: int, tree: int, depth: int) -> None:
        if depth == 0 or rng.random() < 0.2:
            leaf(at, tree)
            return
        child = len(nodes)
        nodes.extend([(0, 0, 0, 0)] * 2)
        feature = int(rng.integers(features)) | (int(NAN_IS_YES) if rng.random() < nans else 0)
        nodes[at] = (rng.choice([-0.5, 0.0, 0.7]), feature, child, 0)
        grow(child, tree, depth - 1)
        grow(child + 1, tree, depth - 1)

    roots = []
    for tree in range(trees):
        nodes.append((0, 0, 0, 0))
        roots.append(len(nodes) - 1)
        grow(roots[-1], tree, 6)
    nodes.append((np.nan, 0, len(nodes) - 1, 0))
    filled = -(-trees // WALKS) * WALKS
    roots += [len(nodes) - 1] * (filled - trees)
    table = np.array(nodes, NODE)
    lanes = machine("native").target.lanes(32)
    dense = np.concatenate([np.ravel(leaves), np.zeros(lanes, np.float32)]).astype(np.float32)
    return table, np.array(roots, np.int32), np.concatenate([classes, np.zeros(filled - trees, np.int32)]), dense


def expected(x, nodes, roots, classes, dense, outputs, weights, count, base):
    y = np.zeros((len(x), outputs), np.float32)
    for r, row in enumerate(x):
        for tree, at in enumerate(roots):
            while True:
                threshold, word, child, payload = nodes[at]
                value = row[word & 0x7FFFFFFF]
                yes = value <= threshold or (np.isnan(value) and word < 0 and not np.isnan(threshold))
                after = child + (0 if yes else 1)
                if after == at:
                    break
                at = after
            if weights:
                y[r, classes[tree]] += np.int32(payload).view(np.float32)
            else:
                y[r] += dense[payload * outputs : (payload + 1) * outputs]
    y /= np.float32(count)
    return y if base is None else y + base


def run(level, x, nodes, roots, classes, dense, outputs, weights, count, base, workers, apart=False):
    lib = library(level)
    kernel, walker = lib.kernel(MODULE, "trees_f32"), lib.kernel(MODULE, "trees_reach_f32")
    rows, width = x.shape
    lanes = lib.machine.target.lanes(32)
    size, less = scratch_bytes(roots.size, outputs, width, lanes), reach_bytes(width, lanes)
    scratch, y = np.zeros((workers, size), np.uint8), np.full((rows, outputs), 7, np.float32)
    reached, tables = np.zeros((roots.size, group_of(lanes)), np.int32), np.zeros((workers, less), np.uint8)
    depths = np.full(roots.size + roots.size // WALKS, 7, np.int32)
    nans = int((nodes["feature"] < 0).any())
    common = (
        x.ctypes.data,
        rows,
        width,
        nodes.ctypes.data,
        roots.ctypes.data,
        depths.ctypes.data,
        nans,
        roots.size,
        0,
        0,
        0,
        0,
    )
    if apart:
        for worker in range(workers):
            walker(*common, tables.ctypes.data, less, reached.ctypes.data, worker=worker, workers=workers)
    for worker in range(workers):
        kernel(
            *common, classes.ctypes.data, 0 if weights else dense.ctypes.data, outputs,
            0 if base is None else base.ctypes.data, count, reached.ctypes.data if apart else 0, scratch.ctypes.data,
            size, y.ctypes.data, worker=worker, workers=workers,
        )  # fmt: skip
    return y


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 21), st.integers(1, 19), st.booleans(), st.booleans(), st.integers(1, 4),
    st.integers(0, 999),
)  # fmt: skip
def test_against_a_plain_walk(level, rows, trees, outputs, weights, with_base, workers, seed) -> None:
    rng = np.random.default_rng(seed)
    made = forest(rng, trees, 5, outputs, weights, 0.5 * (seed % 3))
    x = rng.choice(np.array([-1, -0.5, 0, 0.7, 2, np.nan, np.inf], np.float32), (rows, 5))
    base = rng.normal(size=outputs).astype(np.float32) if with_base else None
    count = 1.0 if seed % 2 else float(trees)
    want = expected(x, *made, outputs, weights, count, base)
    got = run(level, x, *made, outputs, weights, count, base, 1)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(run(level, x, *made, outputs, weights, count, base, workers), got)
    if rows <= WALKS:
        np.testing.assert_array_equal(run(level, x, *made, outputs, weights, count, base, workers, True), got)
