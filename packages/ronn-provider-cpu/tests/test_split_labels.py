"""Classifiers with string labels run natively and give the same strings and scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_support import native_nodes, one_node

import ronn

ML = "ai.onnx.ml"
LABELS = ["none", "ä", "two"]


def check(op: str, x: np.ndarray, **attributes: Any) -> None:
    model = one_node(op, {"x": x}, outputs=2, domain=ML, domains={ML: 3}, classlabels_strings=LABELS, **attributes)
    session = ronn.Session(model, providers=["cpu"])
    label, scores = session.run([x])
    want_label, want_scores = ronn.Session(model, providers=["reference"]).run([x])
    assert native_nodes(session) == [op]
    assert label.tolist() == want_label.tolist() and len(set(label.tolist())) > 1
    np.testing.assert_allclose(scores, want_scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX"])
def test_classifiers(post: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4)).astype(np.float32)
    common: dict[str, Any] = {"post_transform": post}
    check("LinearClassifier", x, coefficients=[float(v) for v in rng.normal(size=12)], intercepts=[0.0] * 3, **common)
    check(
        "SVMClassifier", x, vectors_per_class=[2, 2, 2], coefficients=[float(v) for v in rng.normal(size=12)],
        rho=[0.0] * 3, kernel_type="LINEAR",
        support_vectors=[float(v) for v in rng.normal(size=24)], **common,
    )  # fmt: skip
    check(
        "TreeEnsembleClassifier", x, nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[2, 0, 0],
        nodes_values=[0.0, 0.0, 0.0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0], class_treeids=[0, 0], class_nodeids=[1, 2], class_ids=[2, 1],
        class_weights=[0.75, 0.5], **common,
    )  # fmt: skip
