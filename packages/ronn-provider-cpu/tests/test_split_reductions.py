"""Large reductions in two steps: the same results, on any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_support import latest_plan, numpy_nodes, one_node

import ronn

OPS = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
    "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip
SHAPES = ((1 << 20,), (3, 700, 900), (1, 1, 64, 20000), (600000, 2))


def wanted(op: str, x: np.ndarray) -> Any:
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        results: dict[str, Any] = {
            "ReduceSum": wide.sum, "ReduceMean": wide.mean, "ReduceMax": wide.max, "ReduceMin": wide.min,
            "ReduceProd": wide.prod, "ReduceL1": lambda: np.abs(wide).sum(),
            "ReduceL2": lambda: np.sqrt((wide**2).sum()), "ReduceSumSquare": lambda: (wide**2).sum(),
            "ReduceLogSum": lambda: np.log(wide.sum()), "ReduceLogSumExp": lambda: np.log(np.exp(wide).sum()),
        }  # fmt: skip
        return results[op]()


def run(op: str, x: np.ndarray, threads: int, opset: int = 18, **attributes: Any) -> tuple[np.ndarray, ronn.Session]:
    model = one_node(op, {"x": x}, opset=opset, **attributes)
    session = ronn.Session(model, providers=["cpu"], options={"threads": threads})
    return session.run(x)["y0"], session


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_results(op: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32)
    if op == "ReduceProd":
        x = (1 + (x - 1) * np.float32(1e-4)).astype(np.float32)
    for opset, attributes in ((18, {}), (18, {"keepdims": 0}), (11, {"axes": list(range(len(shape)))})):
        got, session = run(op, x, 2, opset, **attributes)
        assert got.shape == (() if "keepdims" in attributes else (1,) * len(shape))
        np.testing.assert_allclose(got.item(), wanted(op, x), rtol=2e-2 if op == "ReduceProd" else 2e-5)
        assert numpy_nodes(session) == []
        kernels = [k for call in latest_plan(session).calls for k in call.native.kernels]
        assert len(kernels) >= 2 and kernels[0].chunks > 1
        for threads in (1, 3):
            assert run(op, x, threads, opset, **attributes)[0].tobytes() == got.tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64])
def test_other_types(dtype: Any) -> None:
    x = np.random.default_rng(0).integers(-50, 50, (17, 300, 300)).astype(dtype)
    for op, fn in (("ReduceSum", np.sum), ("ReduceMax", np.max)):
        got, session = run(op, x, 2)
        assert got.dtype == dtype and got.item() == fn(x)
        assert numpy_nodes(session) == []


@pytest.mark.parametrize("shape", [(1048583,), (1000, 999), (2, 600000)])
def test_left_as_they_are(shape: tuple[int, ...]) -> None:
    """A prime number of elements, fewer than are worth it, and one axis of two."""
    x = np.ones(shape, np.float32)
    if len(shape) == 2 and x.size > 1_000_000:
        model = one_node("ReduceSum", {"x": x}, constants={"a": np.array([1])}, opset=18)
    else:
        model = one_node("ReduceSum", {"x": x}, opset=18)
    session = ronn.Session(model, providers=["cpu"], options={"threads": 2})
    assert float(session.run(x)["y0"].reshape(-1)[0]) == x.size / (2 if shape[0] == 2 else 1)
    assert sum(len(call.native.kernels) for call in latest_plan(session).calls) == 1
