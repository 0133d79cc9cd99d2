"""Layers rounded one after another, each for what the rounded ones before it make of the data: the way that GPTQ's own
experiments go (Frantar et al., 2022, section 4), with the errors of earlier layers made up for where that can be done.

A layer gets inputs x' where the original had x. Before it is rounded its weights are turned into those whose products
with x' are nearest to ``W x``:

    W + W (C - H) (H + d I)^-1,   C = sum of x x'^T, H = sum of x' x'^T

the least squares of asymmetric calibration (GPTAQ, Li et al., 2025, https://arxiv.org/abs/2504.02692), damped by d.
A BatchNormalization directly behind a layer gets its new figures at once: mean and variance of the layer's output
follow from the sums that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.numerics.walk import Walk
from ronn.records import dataclass, replace
from ronn_provider_bitnet.quantize import norms
from ronn_provider_bitnet.quantize.fit import Candidate
from ronn_provider_bitnet.quantize.layers import Layer
from ronn_provider_bitnet.quantize.statistics import MEMORY, RUNS_ON, Inputs, Source, Tell, crossed, source_of

Array = np.ndarray
DAMPING = 0.1
"""Of the mean of the diagonal of H: of the weights that make up for earlier errors."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Layers none of which depends on another: their inputs are summed up in one round over the data."""

    layers: tuple[Layer, ...]


def stages(layers: Sequence[Layer], memory: int = MEMORY) -> list[Stage]:
    """The layers in the model's order, as many together as do not depend on one another and whose sums fit in
    ``memory`` bytes."""
    found: list[list[Layer]] = []
    makers: set[Node] = set()
    sources: set[Source] = set()
    taken = 0
    for layer in layers:
        source = source_of(layer)
        size = 0 if source in sources else 3 * 8 * layer.w.shape[1] ** 2
        if not found or taken + size > memory or _depends(layer.x, makers):
            found.append([])
            makers, sources, taken = set(), set(), 0
            size = 3 * 8 * layer.w.shape[1] ** 2
        found[-1].append(layer)
        makers.add(layer.node)
        sources.add(source)
        taken += size
    return [Stage(tuple(group)) for group in found]


def _depends(value: Value, makers: set[Node]) -> bool:
    """Whether one of ``makers`` goes into a value."""
    seen: set[Node] = set()
    queue = [value.producer]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        if node in makers:
            return True
        seen.add(node)
        queue += [v.producer for v in node.inputs if v is not None]
        queue += [v.producer for g in node.subgraphs() for v in g.captures()]
    return False


def in_turn(
    original: IRModel,
    layers: Sequence[Layer],
    rounded: Callable[[Layer, Inputs], Candidate],
    put: Callable[[Graph, Layer, Candidate], None],
    feeds: Sequence[Mapping[str, Any]],
    tell: Tell,
    *,
    batch_norm: bool,
    damping: float = DAMPING,
) -> tuple[IRModel, list[Candidate], int]:
    """The model with its layers rounded, what became of each, and how many BatchNormalization got new figures.

    rounded: how a layer is rounded for its inputs; put: puts that in its place in a graph. feeds: the data.
    """
    copies: dict[Value, Value] = {}
    imports = dict(original.opset_imports)
    now = replace(original, graph=clone(original.graph, copies), opset_imports=imports)
    nodes = {layer.node: _producer(copies[layer.node.output]) for layer in layers}
    walks = Walk(now, feeds, RUNS_ON), Walk(original, feeds)
    fixes = norms.Fixes(original, now, feeds, walks[0]) if batch_norm else None
    places = {node: i for i, node in enumerate(original.graph)}
    found: dict[Node, Candidate] = {}
    for stage in stages(layers):
        tell(f"rounding {stage.layers[0].name}", len(found) / len(layers))
        if fixes is not None:
            first = min(places[layer.node] for layer in stage.layers)
            fixes.measured([n for n in fixes.left if places[n] < first])
        pairs = [(replace(la, node=nodes[la.node], x=_input(nodes[la.node])), la) for la in stage.layers]
        for (copy, layer), inputs in zip(pairs, crossed(walks, pairs), strict=True):
            candidate = rounded(replace(copy, w=made_up_for(layer.w, inputs, damping)), inputs)
            put(now.graph, copy, candidate)
            found[layer.node] = candidate
            if fixes is not None and (layer.window is not None or layer.x.tensor.rank == 2):
                fixes.computed(layer, candidate.values, inputs)
    if fixes is not None:
        fixes.measured(fixes.left)
    return now, [found[layer.node] for layer in layers], 0 if fixes is None else fixes.changed


def made_up_for(w: Array, inputs: Inputs, damping: float) -> Array:
    """The weights f32[N, K] whose products with the inputs are nearest to those of ``w`` with the original's."""
    assert inputs.crossed is not None
    h = inputs.hessian
    k = len(h)
    least = float(np.finfo(np.float32).tiny)
    damped = h + damping * max(float(np.mean(np.diag(h))), least) * np.eye(k)
    off = w.astype(np.float64) @ (inputs.crossed - h)
    return (w + np.linalg.solve(damped, off.T).T).astype(np.float32)


def _producer(value: Value) -> Node:
    assert value.producer is not None
    return value.producer


def _input(node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None
    return value
