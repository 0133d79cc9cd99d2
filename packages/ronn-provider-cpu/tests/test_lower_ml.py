"""Trees, linear models, support vector machines and scalers natively against the NumPy kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, one_node, run_one
from onnx import numpy_helper
from test_trees import MODES, random_forest, rows

import ronn

ML = "ai.onnx.ml"
POSTS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]


def compare(op: str, x: np.ndarray, outputs: int = 1, version: int = 3, native: bool = True, **attributes: Any) -> None:
    model = one_node(op, {"x": x}, outputs=outputs, domain=ML, domains={ML: version}, **attributes)
    got, session = run_one(model, {"x": x})
    assert native_nodes(session) == ([op] if native else [])
    want = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"}).run([x])
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        # Sums in float32: what rounds is as large as the largest term, not as the sum that is left of it.
        largest = float(np.abs(b[np.isfinite(b)]).max(initial=1)) if b.dtype.kind == "f" else 0
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-6 * largest)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_tree_classifiers(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    classes = draw(st.integers(1, 5))
    least = draw(st.sampled_from([-1.0, 0.0]))  # of the weights: they decide where the threshold of two classes lies
    form = draw(st.sampled_from(["one", "several", "single"]))

    def leaf() -> list[tuple[int, float]]:
        if form == "single":
            return [(min(1, classes - 1), float(rng.uniform(least, 1)))]
        picked = rng.permutation(classes)[: 1 if form == "one" else rng.integers(1, classes + 1)]
        return [(int(i), float(rng.uniform(least, 1))) for i in picked]

    modes = draw(st.sampled_from([["BRANCH_LEQ"], ["BRANCH_LT", "BRANCH_GTE"], MODES]))
    missing = draw(st.booleans())
    forest = random_forest(rng, draw(st.integers(1, 12)), 4, modes, "class", leaf, missing)
    if draw(st.booleans()):
        forest["base_values"] = [float(v) for v in rng.normal(size=max(2, classes))]
    compare(
        "TreeEnsembleClassifier", rows(rng, draw(st.integers(1, 40)), nan=draw(st.booleans())), 2,
        classlabels_int64s=[7, 5, 9, 11, 2][: max(2, classes)], post_transform=draw(st.sampled_from(POSTS)), **forest,
    )  # fmt: skip


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN"])
@pytest.mark.parametrize("targets", [1, 3, 20])
def test_tree_regressors(targets: int, aggregate: str) -> None:
    rng = np.random.default_rng(targets)
    forest = random_forest(
        rng, 9, 5, MODES, "target", lambda: [(int(rng.integers(targets)), float(rng.normal()))], True
    )
    compare(
        "TreeEnsembleRegressor", rows(rng, 37, nan=True), n_targets=targets, aggregate_function=aggregate,
        native=aggregate != "MIN", **forest,
    )  # fmt: skip


def test_a_large_forest_over_few_rows() -> None:
    rng = np.random.default_rng(8)
    forest = random_forest(rng, 130, 3, ["BRANCH_LEQ"], "target", lambda: [(0, float(rng.normal()))], False)
    for n in (1, 3, 5, 8, 9):
        compare("TreeEnsembleRegressor", rows(rng, n, nan=False), n_targets=1, **forest)


def test_sets_of_members() -> None:
    def tensor(values: list[float], dtype: Any = np.float32) -> Any:
        return numpy_helper.from_array(np.array(values, dtype))

    x = np.array([[0, 1], [0, 1.5], [0, 3], [1, -0.5], [1, 0], [np.nan, 2], [0, np.nan]], np.float32)
    compare(
        "TreeEnsemble", x, version=5, n_targets=2, aggregate_function=1, post_transform=0, tree_roots=[0],
        nodes_modes=tensor([0, 6, 6], np.uint8), nodes_featureids=[0, 1, 1], nodes_splits=tensor([0.5, 0, 0]),
        nodes_truenodeids=[1, 0, 2], nodes_trueleafs=[0, 1, 1], nodes_falsenodeids=[2, 1, 3],
        nodes_falseleafs=[0, 1, 1], membership_values=tensor([1, 2, 3, np.nan, -0.5, np.nan]),
        leaf_targetids=[0, 1, 0, 1], leaf_weights=tensor([1, 2, 4, 8]),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_linear_models(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    n, width, k = draw(st.integers(1, 20)), draw(st.integers(1, 40)), draw(st.integers(1, 20))
    x = rng.normal(size=(n, width)).astype(np.float32)
    common: dict[str, Any] = {
        "coefficients": [float(v) for v in rng.normal(size=k * width)],
        "post_transform": draw(st.sampled_from(POSTS)),
    }
    intercepts = [float(v) for v in rng.normal(size=k)]
    compare("LinearRegressor", x, targets=k, intercepts=intercepts, **common)
    labels = list(range(10, 10 + (k if k > 1 else draw(st.integers(1, 2)))))
    compare("LinearClassifier", x, 2, classlabels_ints=labels, intercepts=intercepts, **common)


def test_one_string_label_runs_on_numpy() -> None:
    x = np.ones((2, 2), np.float32)
    model = one_node(
        "LinearClassifier", {"x": x}, outputs=2, domain=ML, domains={ML: 3}, classlabels_strings=["a"],
        coefficients=[1.0, 2.0], intercepts=[0.5],
    )  # fmt: skip
    (label, _), session = run_one(model, {"x": x})
    assert native_nodes(session) == [] and label.tolist() == ["a", "a"]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_support_vector_machines(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    k, width = draw(st.integers(2, 6)), draw(st.integers(1, 40))
    sizes = [draw(st.integers(1, 20)) for _ in range(k)]
    n = sum(sizes)
    x = rng.normal(size=(draw(st.integers(1, 11)), width)).astype(np.float32)
    common: dict[str, Any] = {
        "kernel_type": draw(st.sampled_from(["LINEAR", "RBF", "POLY", "SIGMOID"])),
        "kernel_params": [0.1, 0.3, 3.0],
        "support_vectors": [float(v) for v in rng.normal(size=n * width)],
        "post_transform": draw(st.sampled_from(POSTS)),
    }
    compare(
        "SVMClassifier", x, 2, classlabels_ints=list(range(3, 3 + k)), vectors_per_class=sizes,
        coefficients=[-0.5, *(float(v) for v in rng.uniform(-1, 1, size=(k - 1) * n - 1))],
        rho=[0.1] * (k * (k - 1) // 2), **common,
    )  # fmt: skip
    compare(
        "SVMRegressor", x, n_supports=n, coefficients=[float(v) for v in rng.normal(size=n) / n], rho=[0.25], **common
    )


@pytest.mark.parametrize("level", ["native", "avx2", "baseline"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 40), (5,)])
def test_scalers(shape: tuple[int, ...], level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape).astype(np.float32)
    x[0] = 0
    width = shape[-1]
    compare("Scaler", x, offset=[float(v) for v in rng.normal(size=width)], scale=[2.0])
    for norm in ("MAX", "L1", "L2"):
        compare("Normalizer", x, norm=norm)
