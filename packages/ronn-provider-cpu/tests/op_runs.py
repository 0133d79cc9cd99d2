"""Runs one operator through its kernel in every way that a plan may: plainly, into ``out=``, and in place."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
from node_cases import Refused, provider
from onnx import helper

from ronn.frontend.onnx import load
from ronn.ir.graph import Node
from ronn.ops.infer import infer_node
from ronn.ops.schema import schema_of
from ronn.provider.kernels import KernelContext


def model_of(
    op: str,
    inputs: list[Any],
    *,
    outputs: int = 1,
    opset: int = 28,
    domain: str = "",
    types: Any = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node. ``inputs``: arrays, None where omitted; ``types``: TypeProtos of those not tensors."""
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    infos = []
    for name, value in zip(names, inputs, strict=True):
        if types is not None and name in types:
            infos.append(helper.make_value_info(name, types[name]))
        elif name:
            infos.append(helper.make_tensor_value_info(name, element_type(value), value.shape))
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)])
    imports = [helper.make_opsetid(domain, opset)]
    if domain:
        imports.append(helper.make_opsetid("", 21))
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def element_type(array: np.ndarray) -> int:
    if array.dtype.kind in "OU":
        return onnx.TensorProto.STRING
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def bound(model: onnx.ModelProto) -> tuple[Node, Any, Any]:
    """The node, its kernel and the bound function."""
    node = next(iter(load(model).graph))
    infer_node(node)
    kernel, verdict = provider().kernel_set.select(node)
    if kernel is None:
        raise Refused(str(verdict))
    return node, kernel, kernel.bind(KernelContext(node, schema_of(node), {}))


def run_op(op: str, inputs: list[Any], **how: Any) -> list[Any]:
    """The outputs of one operator. All ways to call the kernel must agree, and leave the inputs as they were."""
    node, kernel, fn = bound(model_of(op, inputs, **how))
    before = [v.copy() if isinstance(v, np.ndarray) else v for v in inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fn(*inputs)
        results = list(result) if isinstance(result, tuple) else [result]
        expected = [np.array(r) if isinstance(r, np.ndarray) else r for r in results]
        if kernel.view is None:
            for r in results:
                assert not any(
                    isinstance(r, np.ndarray) and isinstance(v, np.ndarray) and np.shares_memory(r, v) for v in inputs
                )
        if kernel.into and results[0].dtype != object:
            _into(fn, inputs, expected[0])
            for i in kernel.inplace:
                _in_place(fn, inputs, expected[0], i)
    for old, new in zip(before, inputs, strict=True):
        if isinstance(old, np.ndarray):
            assert_same(old, new)
    for value, out in zip(expected, node.outputs, strict=False):
        if isinstance(value, np.ndarray) and out.dtype is not None:
            assert value.dtype == out.dtype.numpy, f"{op} made {value.dtype} for {out.dtype.onnx_name}"
    return expected


def _into(fn: Any, inputs: list[Any], expected: np.ndarray) -> None:
    out = np.empty_like(expected, order="C")
    assert fn(*inputs, out=out) is out
    assert_agree(out, expected)


def _in_place(fn: Any, inputs: list[Any], expected: np.ndarray, i: int) -> None:
    target = inputs[i] if i < len(inputs) else None
    if target is None or target.shape != expected.shape or target.dtype != expected.dtype:
        return
    copies = list(inputs)
    copies[i] = np.array(target, order="C")
    assert fn(*copies, out=copies[i]) is copies[i]
    assert_agree(copies[i], expected)


def assert_agree(a: np.ndarray, b: np.ndarray) -> None:
    """Like ``assert_same``, but for the last bits of float32 and float64: NumPy's loops differ between layouts."""
    if a.dtype in (np.float32, np.float64):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=8 * np.finfo(a.dtype).eps)
    else:
        assert_same(a, b)


def assert_same(a: np.ndarray, b: np.ndarray) -> None:
    """Equal dtype, shape and elements (NaN equals NaN)."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    if a.dtype.kind == "O":
        assert a.tolist() == b.tolist()
        return
    wide = a.dtype.kind == "V" or a.dtype.name.startswith("float8")
    np.testing.assert_array_equal(a.astype(np.float64) if wide else a, b.astype(np.float64) if wide else b)


def strings(*values: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An object array of str."""
    out = np.empty(len(values), object)
    out[:] = values
    return out if shape is None else out.reshape(shape)
