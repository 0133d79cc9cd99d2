"""Tree ensembles against onnxruntime: random forests of every mode, aggregate and post transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from op_runs import model_of, run_op

ML = "ai.onnx.ml"
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
FEATURES = 5


def by_onnxruntime(model: Any, outputs: list[tuple[str, int]], feeds: dict[str, np.ndarray]) -> list[Any]:
    """What onnxruntime makes of ``model``, whose outputs have the given names and element types."""
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(n, t, None) for n, t in outputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def random_forest(
    rng: np.random.Generator, trees: int, depth: int, modes: list[str], prefix: str, leaf: Any, missing: bool
) -> dict[str, list[Any]]:
    """Attributes of ``trees`` random trees. ``leaf()`` gives the (id, weight) pairs of one leaf."""
    a: dict[str, list[Any]] = {
        f"nodes_{k}": []
        for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "hitrates")
    } | {f"{prefix}_{k}": [] for k in ("treeids", "nodeids", "ids", "weights")}
    a["nodes_missing_value_tracks_true"] = []

    def grow(tree: int, level: int) -> int:
        me = sum(t == tree for t in a["nodes_treeids"])
        at = len(a["nodes_treeids"])
        inner = level < depth and (level == 0 or rng.random() < 0.8)
        a["nodes_treeids"].append(tree)
        a["nodes_nodeids"].append(me)
        a["nodes_featureids"].append(int(rng.integers(FEATURES)) if inner else 0)
        a["nodes_values"].append(float(rng.integers(-3, 4)) / 2 if inner else 0.0)
        a["nodes_modes"].append(modes[int(rng.integers(len(modes)))] if inner else "LEAF")
        a["nodes_hitrates"].append(1.0)
        a["nodes_missing_value_tracks_true"].append(int(missing and inner and rng.random() < 0.5))
        a["nodes_truenodeids"].append(0)
        a["nodes_falsenodeids"].append(0)
        if inner:
            a["nodes_truenodeids"][at] = grow(tree, level + 1)
            a["nodes_falsenodeids"][at] = grow(tree, level + 1)
        else:
            for i, w in leaf():
                a[f"{prefix}_treeids"].append(tree)
                a[f"{prefix}_nodeids"].append(me)
                a[f"{prefix}_ids"].append(i)
                a[f"{prefix}_weights"].append(w)
        return me

    for tree in range(trees):
        grow(tree, 0)
    return a


def rows(rng: np.random.Generator, n: int, nan: bool, dtype: Any = np.float32) -> np.ndarray:
    x = (rng.integers(-4, 5, (n, FEATURES)) / 2).astype(dtype)
    if nan:
        x[rng.random(x.shape) < 0.2] = np.nan
    return x


@pytest.mark.parametrize("modes", [["BRANCH_LEQ"], ["BRANCH_LT"], ["BRANCH_GTE"], ["BRANCH_GT"], MODES], ids="-".join)
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("targets", [1, 3])
def test_regressor(modes: list[str], aggregate: str, targets: int) -> None:
    rng = np.random.default_rng(len(modes) * 100 + targets)
    base = [float(v) for v in rng.standard_normal(targets)] if aggregate in ("SUM", "MAX") else None

    def leaf() -> list[tuple[int, float]]:
        return [(int(i), float(rng.standard_normal())) for i in range(targets) if targets == 1 or rng.random() < 0.7]

    attributes = random_forest(rng, 7, 4, modes, "target", leaf, missing=True)
    extra = {} if base is None else {"base_values": base}
    x = rows(rng, 33, nan=True)
    how: dict[str, Any] = {**attributes, **extra, "n_targets": targets, "aggregate_function": aggregate}
    how |= {"domain": ML, "opset": 3}
    (got,) = run_op("TreeEnsembleRegressor", [x], **how)
    (want,) = by_onnxruntime(model_of("TreeEnsembleRegressor", [x], **how), [("y0", TensorProto.FLOAT)], {"x0": x})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("sign", ["positive", "mixed"])
@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("strings", [False, True])
def test_classifier(post: str, sign: str, classes: int, base: bool, strings: bool) -> None:
    rng = np.random.default_rng(classes)

    def leaf() -> list[tuple[int, float]]:
        weights = rng.random(classes) / 7 if sign == "positive" else rng.standard_normal(classes)
        return [(i, float(w)) for i, w in enumerate(weights)]

    attributes = random_forest(rng, 7, 4, ["BRANCH_LEQ"], "class", leaf, missing=False)
    labels = (
        {"classlabels_strings": list("cabd")[:classes]} if strings else {"classlabels_int64s": [5, 3, 9, 1][:classes]}
    )
    extra = {"base_values": [float(v) for v in rng.random(classes)]} if base else {}
    _check_classifier(rows(rng, 40, nan=False), {**attributes, **labels, **extra, "post_transform": post}, strings)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("sign", ["positive", "mixed"])
@pytest.mark.parametrize(("one", "base"), [(0, False), (0, True), (1, False)])
def test_classifier_with_one_score(post: str, sign: str, base: bool, one: int) -> None:
    """Two labels, but weights for one class only: the other score is made up."""
    rng = np.random.default_rng(one)

    def leaf() -> list[tuple[int, float]]:
        return [(one, float(rng.random() / 7 if sign == "positive" else rng.standard_normal()))]

    attributes = random_forest(rng, 7, 4, ["BRANCH_LT"], "class", leaf, missing=False)
    extra = {"base_values": [0.125]} if base else {}
    how = {**attributes, **extra, "classlabels_int64s": [4, 2], "post_transform": post}
    _check_classifier(rows(rng, 40, nan=False), how, False)


@pytest.mark.parametrize("base", [False, True])
def test_classifier_of_two_scores(base: bool) -> None:
    """Two labels with weights of their own: the greater score wins."""
    rng = np.random.default_rng(3)

    def leaf() -> list[tuple[int, float]]:
        return [(0, float(rng.standard_normal())), (1, float(rng.standard_normal()))]

    a = random_forest(rng, 5, 3, ["BRANCH_LEQ"], "class", leaf, missing=False)
    x = rows(rng, 30, nan=False)
    bias = [0.5, -0.25] if base else [0.0, 0.0]
    extra = {"base_values": bias} if base else {}
    how: dict[str, Any] = {**a, **extra, "classlabels_int64s": [4, 2], "domain": ML, "opset": 3, "outputs": 2}
    label, score = run_op("TreeEnsembleClassifier", [x], **how)
    sums = {k.replace("class_", "target_"): v for k, v in a.items()}
    (total,) = run_op("TreeEnsembleRegressor", [x], **sums, n_targets=2, domain=ML, opset=3)
    np.testing.assert_allclose(score, total + bias, rtol=1e-6, atol=1e-6)
    assert label.tolist() == np.where(score[:, 0] >= score[:, 1], 4, 2).tolist()


def _check_classifier(x: np.ndarray, attributes: dict[str, Any], strings: bool) -> None:
    how = {**attributes, "domain": ML, "opset": 3, "outputs": 2}
    label, score = run_op("TreeEnsembleClassifier", [x], **how)
    kind = TensorProto.STRING if strings else TensorProto.INT64
    model = model_of("TreeEnsembleClassifier", [x], **how)
    want_label, want_score = by_onnxruntime(model, [("y0", kind), ("y1", TensorProto.FLOAT)], {"x0": x})
    assert score.shape == want_score.shape
    np.testing.assert_allclose(score, want_score, rtol=1e-4, atol=1e-5)
    assert label.tolist() == want_label.tolist()


def test_double_input() -> None:
    """Float64 rows are compared with float64 splits."""
    rng = np.random.default_rng(0)
    a = random_forest(rng, 3, 3, ["BRANCH_LEQ"], "target", lambda: [(0, float(rng.standard_normal()))], missing=False)
    splits, weights = a.pop("nodes_values"), a.pop("target_weights")
    a["nodes_values_as_tensor"] = helper.make_tensor("v", TensorProto.DOUBLE, [len(splits)], splits)
    a["target_weights_as_tensor"] = helper.make_tensor("w", TensorProto.DOUBLE, [len(weights)], weights)
    a.pop("nodes_hitrates")
    x = rows(rng, 9, nan=False, dtype=np.float64) + 1e-12
    how: dict[str, Any] = {**a, "n_targets": 1, "domain": ML, "opset": 3}
    (got,) = run_op("TreeEnsembleRegressor", [x], **how)
    (want,) = by_onnxruntime(model_of("TreeEnsembleRegressor", [x], **how), [("y0", TensorProto.FLOAT)], {"x0": x})
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_feature_out_of_range() -> None:
    rng = np.random.default_rng(0)
    a = random_forest(rng, 3, 3, ["BRANCH_LEQ"], "target", lambda: [(0, 1.0)], missing=False)
    with pytest.raises(IndexError, match="reads feature"):
        run_op("TreeEnsembleRegressor", [np.zeros((2, 1), np.float32)], **a, domain=ML, opset=3)


def test_cycle_is_refused() -> None:
    """A node that is its own descendant would be walked for ever."""
    a = {
        "nodes_treeids": [0, 0, 0, 0], "nodes_nodeids": [0, 1, 2, 3], "nodes_featureids": [0, 0, 0, 0],
        "nodes_values": [0.0, 0.0, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "BRANCH_LEQ", "LEAF"],
        "nodes_truenodeids": [1, 2, 1, 0], "nodes_falsenodeids": [3, 3, 3, 0],
        "target_treeids": [0], "target_nodeids": [3], "target_ids": [0], "target_weights": [1.0],
    }  # fmt: skip
    with pytest.raises(ValueError, match="cycle"):
        run_op("TreeEnsembleRegressor", [np.zeros((1, 1), np.float32)], **a, domain=ML, opset=3)
