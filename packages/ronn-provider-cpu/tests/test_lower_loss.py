"""NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss on native loops, against their NumPy kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_support import native_nodes, one_node, run_one
from op_runs import run_op
from test_lower_pointwise import floats

from ronn.errors import RonnError

RNG = np.random.default_rng(31)
OPS = ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"]


def check(op: str, inputs: list[np.ndarray | None], outputs: int = 1, **attributes: Any) -> None:
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    feeds = {n: v for n, v in zip(names, inputs, strict=True) if v is not None}
    model = one_node(op, feeds, order=names, outputs=outputs, opset=13, **attributes)
    got, session = run_one(model, feeds)
    assert native_nodes(session) == [op]
    for g, w in zip(got, run_op(op, inputs, outputs=outputs, opset=13, **attributes), strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        # Losses near 0 are differences of logits of some 10: exact to a last place of those.
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", [(3, 5), (2, 7, 4), (2, 5, 6, 7)])
def test_losses(op: str, reduction: str, shape: tuple[int, ...]) -> None:
    classes = shape[1]
    for dtype, ignored in ((np.int32, 1), (np.int64, -100)):
        target = RNG.integers(0, classes, (shape[0], *shape[2:])).astype(dtype)
        for weight in (None, np.abs(floats(classes)) + 0.1):
            check(op, [floats(*shape), target, weight], reduction=reduction)
            some = target.copy()
            some.flat[1] = ignored
            check(op, [floats(*shape), some, weight], reduction=reduction, ignore_index=ignored)
        if op == OPS[1]:
            check(op, [floats(*shape), target, None], 2, reduction=reduction)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("wrong", [-1, 5])
def test_targets_that_are_no_class(op: str, wrong: int) -> None:
    feeds = {"x": floats(3, 5), "target": np.array([0, wrong, 4])}
    with pytest.raises(RonnError, match=r"a target lies outside 0\.\.4"):
        run_one(one_node(op, feeds, opset=13), feeds)
