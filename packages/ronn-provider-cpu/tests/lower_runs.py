"""Runs one operator natively and through its NumPy kernel, and holds the results against each other, bit by bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from native_support import native_nodes, numpy_nodes, one_node, run_one
from op_runs import run_op

DTYPES = (np.uint8, np.int16, np.float32, np.int64, np.complex128)
"""One for each size of element."""


def filled(shape: Sequence[int], dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).integers(1, 120, tuple(shape))).astype(dtype)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def with_shapes(model: bytes, constants: Mapping[str, np.ndarray]) -> bytes:
    """The model with constants of rank 0 where it has vectors of one element in their places."""
    proto = onnx.load_from_string(model)
    for tensor in proto.graph.initializer:
        tensor.dims[:] = constants[tensor.name].shape
    return proto.SerializeToString()


def lowered(
    op: str, inputs: Sequence[np.ndarray | None], *, fixed: Sequence[int] = (), outputs: int = 1, opset: int = 21,
    native: bool = True, within: float = 0.0, **attributes: Any,
) -> list[np.ndarray]:  # fmt: skip
    """The outputs of ``op`` on the native kernels, equal to the NumPy kernel's. Inputs whose numbers are in ``fixed``
    are constants of the model; ``native``: whether the node is expected to run natively; ``within``: how far they may
    be from each other, relatively and absolutely."""
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    given = {n: v for n, v in zip(names, inputs, strict=True) if v is not None}
    constants = {f"x{i}": given.pop(f"x{i}") for i in fixed}
    model = with_shapes(
        one_node(op, given, constants=constants, order=names, outputs=outputs, opset=opset, **attributes), constants
    )
    got, session = run_one(model, given)
    assert (op in native_nodes(session)) == native
    assert not native or numpy_nodes(session) == []
    want = run_op(op, list(inputs), outputs=outputs, opset=opset, **attributes)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        if g.dtype.kind == "V":  # a type that NumPy knows no NaN of
            g, w = g.astype(np.float32), w.astype(np.float32)
        if within:
            np.testing.assert_allclose(g, w, rtol=within, atol=within)
        else:
            np.testing.assert_array_equal(g, w)
    return [np.asarray(g) for g in got]
