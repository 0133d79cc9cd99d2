"""Cross-layer equalisation: channels between two convolutions are scaled to ranges alike, which changes no result.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1. Where weights
have a scale per channel, ranges of activations, as they were measured, stand for those of the first weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ronn.ir.graph import IRModel, Value, clone
from ronn.passes.edit import attr
from ronn.records import dataclass, replace
from ronn_provider_npu.quantize.observe import Seen
from ronn_provider_npu.quantize.steps import Analysis, Step

Array = np.ndarray
_MOST = 1e3
"""That a channel is scaled by: beyond, what little a channel does drowns in rounding elsewhere."""


@dataclass(frozen=True)
class Pair:
    """Two convolutions, the second of which alone takes what the first makes, and a Relu or nothing between them."""

    first: Step
    second: Step


def pairs(analysis: Analysis) -> list[Pair]:
    """In the order of the graph."""
    makers = {v: s for s in analysis.steps.values() for v in s.outputs}
    found = []
    for second in analysis.steps.values():
        first = makers.get(second.inputs[0]) if second.inputs else None
        if first is None or first.kind != "conv" or second.kind != "conv":
            continue
        between = second.inputs[0]
        if len(between.uses) != 1 or analysis.graph.is_output(between):
            continue
        if first.bounds is None or first.bounds == (0.0, np.inf):
            found.append(Pair(first, second))
    return found


def equalise(model: IRModel, analysis: Analysis, seen: Mapping[str, Seen], *, per_channel: bool = True) -> IRModel:
    """A copy of the model with equalised weights. seen: of what goes into convolutions, with channels."""
    weights = {s.nodes[0]: (s.weights, s.bias) for s in analysis.steps.values() if s.kind == "conv"}
    for pair in pairs(analysis):
        first, second = pair.first.nodes[0], pair.second.nodes[0]
        w, bias = weights[first]
        after, after_bias = weights[second]
        assert w is not None and after is not None
        peaks = seen[pair.second.inputs[0].name].peaks
        if peaks is None:
            continue
        groups = int(attr(second, "group", 1))
        ranges = peaks.astype(np.float64) if per_channel else np.abs(w.reshape(len(w), -1)).max(axis=1)
        scale = _scales(ranges, _input_peaks(after, groups), groups == len(w) and per_channel)
        per_row = scale.reshape(-1, *[1] * (w.ndim - 1))
        weights[first] = ((w / per_row).astype(np.float32), None if bias is None else (bias / scale).astype(np.float32))
        weights[second] = (_scaled_inputs(after, groups, scale), after_bias)
    copies: dict[Value, Value] = {}
    graph = clone(model.graph, copies)
    for node, (w, bias) in weights.items():
        copy = copies[node.output].producer
        assert copy is not None and w is not None
        copy.set_input(1, graph.constant(w, graph.fresh_name("weights")))
        if bias is not None:
            copy.set_input(2, graph.constant(np.asarray(bias), graph.fresh_name("bias")))
    for name, value in list(graph.initializers.items()):
        if not graph.is_used(value):
            del graph.initializers[name]
    return replace(model, graph=graph)


def _scales(ranges: Array, after: Array, free: bool) -> Array:
    """What each channel is divided by: ranges on both sides become alike. free: the second layer's do not matter."""
    there = (ranges > 0) & (after > 0)
    wanted = ranges if free else np.sqrt(ranges / np.where(after > 0, after, 1))
    middle = np.exp(np.log(wanted[there]).mean()) if there.any() else 1.0
    return np.where(there, np.clip(wanted / middle, 1 / _MOST, _MOST), 1.0)


def _by_input(w: Array, groups: int) -> Array:
    """[out, in / groups, ...] as [groups, out / groups, in / groups, ...]."""
    return w.reshape(groups, len(w) // groups, *w.shape[1:])


def _input_peaks(w: Array, groups: int) -> Array:
    by_input = np.abs(_by_input(w, groups))
    return by_input.reshape(*by_input.shape[:3], -1).max(axis=(1, 3)).reshape(-1)


def _scaled_inputs(w: Array, groups: int, scale: Array) -> Array:
    split = _by_input(w, groups)
    factors = scale.reshape(groups, 1, -1, *[1] * (split.ndim - 3))
    return (split * factors).astype(np.float32).reshape(w.shape)
