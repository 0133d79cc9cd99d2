"""The figures of a model: metadata, inputs and outputs, operators, parameters, sizes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ronn.ir.graph import Graph, IRModel
    from ronn.model import Model
    from ronn.values import ValueInfo

_DATA_FILES = (".data", ".bin", ".weight")


def facts(model: Model, path: Path | None = None) -> dict[str, Any]:
    """All of it, ready for JSON. ``path`` is the model's file, where it has one."""
    ir = model.ir
    meta = ir.metadata
    beside = [] if path is None else path.parent.glob(f"{path.stem}*")
    external = [f for f in beside if f != path and f.suffix in _DATA_FILES]
    return {
        "file": ir.source if path is None else str(path),
        "bytes": None if path is None else path.stat().st_size,
        "external_files": {f.name: f.stat().st_size for f in external},
        "producer": f"{meta.producer_name} {meta.producer_version}".strip(),
        "graph": meta.graph_name,
        "description": meta.description,
        "ir_version": meta.ir_version,
        "opsets": {domain or "ai.onnx": version for domain, version in ir.opset_imports.items()},
        "functions": [f"{f.domain}::{f.name}" for f in ir.functions.values()],
        "metadata": dict(meta.custom),
        "inputs": [_value(i) for i in model.inputs],
        "outputs": [_value(o) for o in model.outputs],
        "nodes": sum(1 for _ in ir.graph.all_nodes()),
        "operators": dict(Counter(n.op_id for n in ir.graph.all_nodes()).most_common()),
        "parameters": parameters(ir),
    }


def _value(info: ValueInfo) -> dict[str, Any]:
    shape = None if info.shape is None else list(info.shape)
    return {"name": info.name, "dtype": info.dtype, "shape": shape, "type": str(info.type) if info.type else "?"}


def parameters(ir: IRModel) -> dict[str, dict[str, int]]:
    """Constants by dtype: how many there are, their elements, their bytes (as ONNX stores them)."""
    found: dict[str, dict[str, int]] = {}
    for graph in _graphs(ir.graph):
        for value in graph.initializers.values():
            data, dtype = value.data, value.dtype
            if data is None or dtype is None:
                continue
            row = found.setdefault(dtype.onnx_name, {"tensors": 0, "elements": 0, "bytes": 0})
            row["tensors"] += 1
            row["elements"] += int(data.size)
            row["bytes"] += int(-(-data.size * dtype.bits // 8)) if dtype.bits else sum(len(str(s)) for s in data.flat)
    return dict(sorted(found.items(), key=lambda kv: -kv[1]["bytes"]))


def _graphs(graph: Graph) -> list[Graph]:
    return [graph, *(g for node in graph for sub in node.subgraphs() for g in _graphs(sub))]
