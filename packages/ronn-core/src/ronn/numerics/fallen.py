"""Nodes of a compiled model that run otherwise than one may think: in float between bytes, in a wider type, on a
fallback, or as a Python function."""

from __future__ import annotations

from ronn.ir.graph import Graph, Node
from ronn.numerics.candidate import Candidate
from ronn.partition import CONTROL
from ronn.records import dataclass

DEQUANTISED, WIDER, FALLBACK, PYTHON = "dequantised", "wider", "fallback", "python"

_MOVES = frozenset(
    {"DequantizeLinear", "QuantizeLinear", "Cast", "Reshape", "Transpose", "Concat", "Split", "Slice", "Gather",
     "Squeeze", "Unsqueeze", "Flatten", "Identity", "Expand", "Pad", "Shape"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fallen:
    """A node, its operator, the provider that runs it, and what is to be known: ``dequantised`` (it computes in float
    on what DequantizeLinear makes), ``wider`` (in a wider type, rounded back), ``fallback`` (not on the first
    provider), ``python`` (a Python function, not native code). reason: in words."""

    node: str
    op: str
    provider: str
    what: str
    reason: str


def fallen(candidate: Candidate) -> list[Fallen]:
    """The nodes of the compiled graph that there is something to say about, in order; one may come several times."""
    graph = candidate.assigned()
    rows = [row for node in graph.all_nodes() for row in _rows(node, candidate.targets[0].name)]
    plan = candidate.plan(graph)
    if any(call.native is not None for p in plan.all_plans() for call in p.calls):
        # Where a provider has native kernels at all it is worth saying what runs without.
        for p in plan.all_plans():
            for call in p.calls:
                if call.native is None:
                    rows += [
                        Fallen(n.label, n.op_id, n.provider, PYTHON, "a Python function, not native code")
                        for n in call.nodes
                        if n.provider not in (None, CONTROL, "reference") and n.op != "Constant"
                    ]
    plan.close()
    return rows


def _rows(node: Node, first: str) -> list[Fallen]:
    provider = node.provider if node.provider is not None else ""
    found = []
    if provider not in (first, CONTROL):
        found.append(Fallen(node.label, node.op_id, provider, FALLBACK, node.reason))
    if "rounded back" in node.reason or "widen-half" in node.tags:
        reason = node.reason if "rounded back" in node.reason else "computed in float32 and rounded back"
        found.append(Fallen(node.label, node.op_id, provider, WIDER, reason))
    if node.op not in _MOVES and (sources := _dequantised_inputs(node)):
        quantised = any(u.op == "QuantizeLinear" for v in node.outputs for u in v.consumers)
        behind = ", and quantised again behind it" if quantised else ""
        reason = f"computes in float on what DequantizeLinear makes of %{sources[0]}{behind}"
        found.append(Fallen(node.label, node.op_id, provider, DEQUANTISED, reason))
    return found


def _dequantised_inputs(node: Node) -> list[str]:
    """Names of the bytes that were made numbers for this node; those of constants do not count."""
    found = []
    for value in node.inputs:
        maker = None if value is None else value.producer
        if maker is not None and maker.op == "DequantizeLinear":
            source = maker.inputs[0]
            if source is not None and not source.is_const:
                found.append(source.name)
    return found


def quantised_share(graph: Graph) -> tuple[int, int]:
    """How many nodes of an assigned graph compute on bytes, and how many in all compute."""
    nodes = [n for n in graph.all_nodes() if n.op not in _MOVES]
    on_bytes = sum(
        any(v is not None and v.dtype is not None and v.dtype.is_integer and v.dtype.bits <= 8 for v in n.inputs)
        for n in nodes
    )
    return on_bytes, len(nodes)
