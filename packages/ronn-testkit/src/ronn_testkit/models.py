"""Small models made in memory, and the reference's answer to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ronn.ir.graph import Graph


@dataclass(frozen=True)
class Case:
    """One node with its inputs. Those whose positions are in ``constants`` are initializers, the rest are fed.

    ``level`` is how close results must be to the reference's.
    """

    op: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    constants: frozenset[int] = frozenset()
    opset: int = 21
    domain: str = ""
    level: str = "close"

    @property
    def fed(self) -> list[Any]:
        """The inputs of a run."""
        return [a for i, a in enumerate(self.inputs) if a is not None and i not in self.constants]

    def with_fed(self, arrays: Sequence[Any]) -> Case:
        """The same case with other arrays fed."""
        given = iter(arrays)
        changed = [a if a is None or i in self.constants else next(given) for i, a in enumerate(self.inputs)]
        return replace(self, inputs=tuple(changed))

    def model(self, *, dynamic: bool = False) -> onnx.ModelProto:
        """The one-node model; ``dynamic`` leaves every size of the fed inputs open."""
        names = ["" if a is None else f"x{i}" for i, a in enumerate(self.inputs)]
        infos, initializers = [], []
        for i, (name, array) in enumerate(zip(names, self.inputs, strict=True)):
            if array is None:
                continue
            if i in self.constants:
                initializers.append(tensor(array, name))
            else:
                shape = [f"d{i}_{k}" for k in range(array.ndim)] if dynamic else list(array.shape)
                infos.append(helper.make_tensor_value_info(name, element_type(array), shape))
        outs = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op, names, outs, domain=self.domain, name=f"the_{self.op}", **self.attributes)
        return assemble([node], infos, outs, initializers, self.opset, self.domain)

    def __repr__(self) -> str:
        shapes = ", ".join("_" if a is None else f"{a.dtype}{list(a.shape)}" for a in self.inputs)
        return f"{self.op}-{self.opset}({shapes}){dict(self.attributes) or ''}"


def element_type(array: np.ndarray) -> int:
    """The TensorProto.DataType number of an array's dtype."""
    from ronn.ir.types import DType

    return DType.of(array.dtype).code


def tensor(array: np.ndarray, name: str) -> onnx.TensorProto:
    """An initializer."""
    from ronn.frontend.encode import array_to_proto

    return array_to_proto(array, name)


def assemble(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str],
    initializers: Sequence[onnx.TensorProto] = (),
    opset: int = 21,
    domain: str = "",
) -> onnx.ModelProto:
    """A model of nodes; types of outputs are left to inference."""
    infos = [onnx.ValueInfoProto(name=n) for n in outputs]
    graph = helper.make_graph(list(nodes), "case", list(inputs), infos, list(initializers))
    imports = [helper.make_opsetid("", opset if domain == "" else onnx.defs.onnx_opset_version())]
    if domain:
        imports.append(helper.make_opsetid(domain, opset))
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def chain(ops: Sequence[str], shape: Sequence[int | str], opset: int = 21) -> onnx.ModelProto:
    """float32 ``x`` through unary and binary operators in turn; binary ones take ``x`` again. Output ``y``."""
    from onnx import TensorProto

    nodes, last = [], "x"
    for i, op in enumerate(ops):
        schema = onnx.defs.get_schema(op, opset, "")
        out = "y" if i == len(ops) - 1 else f"t{i}"
        inputs = [last] if schema.max_input == 1 or op == "Clip" else [last, "x"]
        nodes.append(helper.make_node(op, inputs, [out], name=f"n{i}_{op}"))
        last = out
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    return assemble(nodes, [info], ["y"], opset=opset)


def reference(case: Case) -> list[Any]:
    """What the reference provider returns for a case. 16-bit floats are computed in float32 and rounded once."""
    narrow = next((a.dtype for a in case.inputs if _is_narrow(a)), None)
    if narrow is not None and case.level in ("close", "sums", "single"):
        wide = tuple(a.astype(np.float32) if _is_narrow(a) else a for a in case.inputs)
        declared = [v.dtype for v in _graph(case).outputs]
        results = _run_reference(replace(case, inputs=wide))
        with np.errstate(all="ignore"):
            return [
                r if dtype is not None and dtype.numpy == np.float32 else _narrowed(r, narrow)
                for r, dtype in zip(results, declared, strict=True)
            ]
    return _run_reference(case)


def _narrowed(value: Any, dtype: np.dtype) -> Any:
    if isinstance(value, list):
        return [_narrowed(v, dtype) for v in value]
    return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype == np.float32 else value


def _is_narrow(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.name in ("float16", "bfloat16")


def _graph(case: Case) -> Graph:
    from ronn.frontend.onnx import load
    from ronn.ops.infer import infer_types

    graph = load(case.model()).graph
    infer_types(graph)
    return graph


def _run_reference(case: Case) -> list[Any]:
    from ronn.providers.reference import node_function

    (node,) = _graph(case)
    result = node_function(node)(*case.inputs)
    return [result] if len(node.outputs) == 1 else list(result)
