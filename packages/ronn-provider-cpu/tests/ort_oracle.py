"""Compares one-node models with onnxruntime, which published models are made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from node_cases import run_model
from onnx import helper, numpy_helper


class Draw:
    """Random arrays of the types that quantised and float operators take."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def f(self, *shape: int) -> np.ndarray:
        return np.asarray(self.rng.standard_normal(shape), np.float32)

    def u8(self, *shape: int) -> np.ndarray:
        return np.asarray(self.rng.integers(0, 256, shape), np.uint8)

    def i8(self, *shape: int) -> np.ndarray:
        return np.asarray(self.rng.integers(-128, 128, shape), np.int8)

    def scale(self, *shape: int) -> np.ndarray:
        """Positive scales about 0.05."""
        return np.asarray(np.abs(self.rng.standard_normal(shape)) * 0.05 + 0.01, np.float32)

    def chance(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def ints(self, low: int, high: int, count: int) -> list[int]:
        return [int(v) for v in self.rng.integers(low, high, count)]


def agree(
    op: str,
    inputs: Sequence[Any],
    *,
    outputs: int = 1,
    domain: str = "com.microsoft",
    opset: int = 20,
    constants: Sequence[int] = (),
    tol: float = 1e-5,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Runs the node here and in onnxruntime (one thread); every output differs by at most ``tol``."""
    arrays = [None if v is None else np.asarray(v) for v in inputs]
    names = ["" if v is None else f"x{i}" for i, v in enumerate(arrays)]
    while names and not names[-1]:
        names.pop()
    feeds, infos, initializers = {}, [], []
    for i, (name, value) in enumerate(zip(names, arrays, strict=False)):
        if value is None:
            continue
        if i in constants:
            initializers.append(numpy_helper.from_array(value, name))
        else:
            feeds[name] = value
            infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain=domain, **(attributes or {}))
    results = [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)]
    graph = helper.make_graph([node], "g", infos, results, initializers)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for got, want in zip(run_model(model, feeds), session.run(None, feeds), strict=True):
        got = np.asarray(got)
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=0, atol=tol)
