"""Runs single-graph models through this provider's kernels alone: no fallback, no passes, no plan.

``NodeCase`` wraps one case of ``onnx.backend.test``; ``run_model`` is the minimal executor that tests share.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ronn.frontend.onnx import load
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.ops.infer import infer_node
from ronn.ops.schema import schema_of
from ronn.provider.contract import No
from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.provider import CpuProvider


class Refused(Exception):
    """The provider does not claim a node of the model; the text says which and why."""


@functools.cache
def provider() -> CpuProvider:
    return CpuProvider()


def _observed(value: Any) -> TensorType | None:
    if not isinstance(value, np.ndarray):
        return None
    return TensorType(DType.of(value.dtype), value.shape)


def run_node(node: Node, values: dict[Value, Any]) -> None:
    """Selects, binds and calls the kernel of one node; checks declared against computed types."""
    for v in node.inputs:
        if v is not None and v in values and (seen := _observed(values[v])) is not None:
            v.type = seen
    infer_node(node)
    kernel, verdict = provider().kernel_set.select(node)
    if kernel is None:
        assert isinstance(verdict, No)
        raise Refused(verdict.reason)
    fn = kernel.bind(KernelContext(node, schema_of(node), {}))
    args = [None if v is None else v.data if v.data is not None else values[v] for v in node.inputs]
    while args and args[-1] is None:
        args.pop()
    result = fn(*args)
    for out in result if isinstance(result, (tuple, list)) else [result]:
        if isinstance(out, np.ndarray) and kernel.view is None:
            # The plan may write over an input once it is used up: results that are views must be declared.
            shared = [a for a in args if isinstance(a, np.ndarray) and np.may_share_memory(a, out)]
            assert not shared, f"{node.op_id} returned a view of an input"
    results = list(result) if isinstance(result, (tuple, list)) and not _is_sequence(node) else [result]
    for out, got in zip(node.outputs, results, strict=False):
        if out.name and isinstance(got, (np.ndarray, np.generic)):
            got = np.asarray(got)
            if out.dtype is not None and out.dtype.numpy != got.dtype:
                raise AssertionError(f"{node.op_id} made {got.dtype} for an output declared {out.dtype.onnx_name}")
            shape = out.tensor.shape
            if shape is not None and all(isinstance(d, int) for d in shape) and tuple(shape) != got.shape:
                raise AssertionError(f"{node.op_id} made shape {got.shape}, inferred was {shape}")
        values[out] = got


def _is_sequence(node: Node) -> bool:
    return bool(node.outputs) and node.outputs[0].type is not None and not isinstance(node.outputs[0].type, TensorType)


def run_model(model: onnx.ModelProto, inputs: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
    """The outputs of ``model``, in order. Raises Refused where a node has no kernel here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph: Graph = load(model).graph
    feeds = inputs if isinstance(inputs, Mapping) else dict(zip([v.name for v in graph.inputs], inputs, strict=False))
    values: dict[Value, Any] = {v: feeds[v.name] for v in graph.inputs if v.name in feeds}
    for node in graph:
        run_node(node, values)
    return [v.data if v.data is not None else values[v] for v in graph.outputs]


@dataclass(frozen=True)
class NodeCase:
    """One case of the ONNX node tests."""

    name: str
    model: onnx.ModelProto
    data: Any
    rtol: float
    atol: float

    @property
    def ops(self) -> set[tuple[str, str]]:
        return {(n.domain, n.op_type) for n in self.model.graph.node}

    def check(self) -> None:
        """Runs every data set and compares. Raises Refused, or AssertionError on a difference."""
        for feeds, expected in self.data:
            got = run_model(self.model, [_array(v) for v in feeds])
            for g, e in zip(got, expected, strict=True):
                compare(g, _array(e), self.rtol, self.atol)


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value


def compare(got: Any, expected: Any, rtol: float, atol: float) -> None:
    """Same structure, dtype and shape, and values within tolerance."""
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            compare(g, e, rtol, atol)
        return
    if expected is None:
        assert got is None
        return
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    if expected.dtype.kind in "OUS":
        assert got.astype(str).tolist() == expected.astype(str).tolist()
        return
    assert got.dtype == expected.dtype, f"dtype {got.dtype}, expected {expected.dtype}"
    if expected.dtype.name == "bfloat16":
        rtol = max(rtol, 2**-6)  # two units in the last place
    if expected.dtype.kind not in "fciub":
        got, expected = got.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


@functools.cache
def node_cases() -> tuple[NodeCase, ...]:
    """Every node case of the installed onnx, built once."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return tuple(NodeCase(c.name, c.model, c.data_sets, c.rtol, c.atol) for c in found)
