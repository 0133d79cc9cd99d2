"""Control flow inside the plan: If, Loop, Scan and SequenceMap run sub-plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ronn.errors import ExecutionError
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import TensorType
from ronn.ops.schema import schema_of
from ronn.provider import Call


class Runs(Protocol):
    """Anything that takes values in order and returns values in order: a ``Plan``."""

    def run(self, values: Sequence[Any]) -> list[Any]: ...


Build = Callable[[Graph, Sequence[Value]], Runs]
"""Makes a sub-plan of a graph whose inputs are its own, then the captured values given."""


def control_call(node: Node, build: Build) -> Call:
    """The call of a control-flow node: its inputs are the node's, then every value that its subgraphs capture."""
    subgraphs = list(node.subgraphs())
    captured = list(dict.fromkeys(v for g in subgraphs for v in g.captures() if not v.is_const))
    plans = {id(g): build(g, captured) for g in subgraphs}
    n = len(node.inputs)
    make = _MAKERS[node.op]
    return Call(make(node, plans, n), (*node.inputs, *captured), node.outputs, (node,))


def _single(results: list[Any]) -> Any:
    return results[0] if len(results) == 1 else results


def _truth(value: Any, what: str) -> bool:
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise ExecutionError(f"{what} must be one boolean, got {getattr(value, 'shape', value)!r}")
    return bool(value.reshape(-1)[0])


def _make_if(node: Node, plans: dict[int, Runs], n: int) -> Callable[..., Any]:
    then, other = plans[id(node.attributes["then_branch"])], plans[id(node.attributes["else_branch"])]

    def run_if(cond: Any, *captured: Any) -> Any:
        branch = then if _truth(cond, "the condition of If") else other
        return _single(branch.run(captured))

    return run_if


def _make_loop(node: Node, plans: dict[int, Runs], n: int) -> Callable[..., Any]:
    body: Graph = node.attributes["body"]
    plan = plans[id(body)]
    carried_count = n - 2 if n > 2 else 0
    scans = [v.tensor for v in body.outputs[1 + carried_count :]]

    def run_loop(*values: Any) -> Any:
        limit = None if n < 1 or values[0] is None else int(np.asarray(values[0]).reshape(-1)[0])
        go = True if n < 2 or values[1] is None else _truth(values[1], "the condition of Loop")
        carried, captured = list(values[2:n]), values[n:]
        rows: list[list[Any]] = [[] for _ in scans]
        i = 0
        while go and (limit is None or i < limit):
            results = plan.run([np.asarray(i, np.int64), np.asarray(go), *carried, *captured])
            go = _truth(results[0], "the condition that the body of Loop returns")
            carried = results[1 : 1 + carried_count]
            for row, value in zip(rows, results[1 + carried_count :], strict=True):
                row.append(value)
            i += 1
        return _single([*carried, *(_stack(row, t) for row, t in zip(rows, scans, strict=True))])

    return run_loop


def _stack(rows: list[Any], row_type: TensorType, axis: int = 0) -> Any:
    if rows:
        first = np.shape(rows[0])
        for row in rows:
            if np.shape(row) != first:
                raise ExecutionError(f"scan outputs differ in shape: {list(first)} and {list(np.shape(row))}")
        return np.stack(rows, axis=axis)
    shape = [d if isinstance(d, int) else 0 for d in row_type.shape or ()]
    shape.insert(axis if axis >= 0 else axis + len(shape) + 1, 0)
    dtype = np.dtype(np.float32) if row_type.dtype is None else row_type.dtype.numpy
    return np.empty(shape, dtype)


def _make_scan(node: Node, plans: dict[int, Runs], n: int) -> Callable[..., Any]:
    schema = schema_of(node)
    if (node.version if schema is None else schema.since) < 9:
        return _make_scan8(node, plans, n)
    body: Graph = node.attributes["body"]
    plan = plans[id(body)]
    scan_inputs = int(node.attributes["num_scan_inputs"])
    states = n - scan_inputs
    scan_outputs = len(node.outputs) - states

    def listed(name: str, count: int) -> list[int]:
        given = node.attributes.get(name)
        return [0] * count if given is None or not len(given) else [int(x) for x in given]

    in_axes, in_back = listed("scan_input_axes", scan_inputs), listed("scan_input_directions", scan_inputs)
    out_axes, out_back = listed("scan_output_axes", scan_outputs), listed("scan_output_directions", scan_outputs)
    row_types = [v.tensor for v in body.outputs[states:]]

    def run_scan(*values: Any) -> Any:
        state, captured = list(values[:states]), values[n:]
        scanned = [np.moveaxis(v, a, 0) for v, a in zip(values[states:n], in_axes, strict=True)]
        state, rows = _scan(plan, state, scanned, in_back, captured, scan_outputs)
        stacked = [
            _stack(row[::-1] if back else row, t, axis)
            for row, back, axis, t in zip(rows, out_back, out_axes, row_types, strict=True)
        ]
        return _single([*state, *stacked])

    return run_scan


def _scan(
    plan: Runs, state: list[Any], scanned: list[Any], backward: Sequence[int], captured: Sequence[Any], outputs: int
) -> tuple[list[Any], list[list[Any]]]:
    lengths = {len(v) for v in scanned}
    if len(lengths) != 1:
        raise ExecutionError(f"the scanned inputs of Scan have different lengths: {sorted(lengths)}")
    length = lengths.pop()
    rows: list[list[Any]] = [[] for _ in range(outputs)]
    for i in range(length):
        slices = [np.asarray(v[length - 1 - i if b else i]) for v, b in zip(scanned, backward, strict=True)]
        results = plan.run([*state, *slices, *captured])
        state = results[: len(state)]
        for row, value in zip(rows, results[len(state) :], strict=True):
            row.append(value)
    return state, rows


def _make_scan8(node: Node, plans: dict[int, Runs], n: int) -> Callable[..., Any]:
    """Scan of opset 8: a batch axis 0, sequence axis 1, optional lengths as input 0."""
    body: Graph = node.attributes["body"]
    plan = plans[id(body)]
    scan_inputs = int(node.attributes["num_scan_inputs"])
    states = n - 1 - scan_inputs
    scan_outputs = len(node.outputs) - states
    directions = [int(d) for d in node.attributes.get("directions") or [0] * scan_inputs]
    row_types = [v.tensor for v in body.outputs[states:]]

    def run_scan(*values: Any) -> Any:
        lengths, captured = values[0], values[n:]
        batch, longest = values[1 + states].shape[:2]
        per_batch: list[list[Any]] = []
        for b in range(batch):
            length = longest if lengths is None else int(lengths[b])
            state = [v[b] for v in values[1 : 1 + states]]
            scanned = [v[b][:length] for v in values[1 + states : n]]
            state, rows = _scan(plan, state, scanned, directions, captured, scan_outputs)
            stacked = [_stack(row, t) for row, t in zip(rows, row_types, strict=True)]
            padded = [np.pad(s, [(0, longest - length)] + [(0, 0)] * (s.ndim - 1)) for s in stacked]
            per_batch.append([*state, *padded])
        return _single([np.stack(column) for column in zip(*per_batch, strict=True)])

    return run_scan


def _make_sequence_map(node: Node, plans: dict[int, Runs], n: int) -> Callable[..., Any]:
    plan = plans[id(node.attributes["body"])]
    outputs = len(node.outputs)

    def run_map(*values: Any) -> Any:
        given, captured = values[:n], values[n:]
        made: list[list[Any]] = [[] for _ in range(outputs)]
        for i in range(len(given[0])):
            element = [v[i] if isinstance(v, list) else v for v in given]
            for column, value in zip(made, plan.run([*element, *captured]), strict=True):
                column.append(value)
        return _single(made)

    return run_map


_MAKERS: dict[str, Callable[[Node, dict[int, Runs], int], Callable[..., Any]]] = {
    "If": _make_if,
    "Loop": _make_loop,
    "Scan": _make_scan,
    "SequenceMap": _make_sequence_map,
}

__all__ = ["Build", "control_call"]
