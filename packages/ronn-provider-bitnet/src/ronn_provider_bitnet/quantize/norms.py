"""BatchNormalization re-estimated: rounding shifts and stretches what goes into it, which its mean and variance can
take back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import IRModel, Node, Value
from ronn.numerics.walk import Walk, traced
from ronn.passes.edit import attr, const
from ronn.records import dataclass
from ronn_provider_bitnet.quantize.layers import Layer
from ronn_provider_bitnet.quantize.statistics import RUNS_ON, Inputs, Tell

Array = np.ndarray
_MEAN, _VARIANCE = 3, 4


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean and variance of each channel, f64[C]."""

    mean: Array
    variance: Array


def norms(model: IRModel) -> list[Node]:
    """The BatchNormalization nodes whose figures are constant, in the model's order."""
    return [n for n in model.graph if n.op == "BatchNormalization" and n.domain == "" and _is_constant(n)]


def _is_constant(node: Node) -> bool:
    if attr(node, "training_mode", 0) or len(node.outputs) != 1:
        return False
    return all(const(node.input(i)) is not None for i in (_MEAN, _VARIANCE))


class Fixes:
    """Gives the BatchNormalization of ``quantised`` the mean and variance that make their outputs as the original's.

    What the data's own figures are off from the model's is kept: where rounding makes x into a * x + b, mean m becomes
    a * m + b and variance v a**2 * v, with a and b of the data. left: those of the original that are still to be seen
    to, in the model's order; changed: how many were changed. walk: through the quantised model.
    """

    def __init__(self, original: IRModel, quantised: IRModel, feeds: Sequence[Mapping[str, Any]], walk: Walk) -> None:
        before, after = norms(original), norms(quantised)
        if len(before) != len(after):
            before, after = [], []
        self.left, self.changed = before, 0
        self._graph, self._walk = quantised.graph, walk
        self._nodes = dict(zip(before, after, strict=True))
        sources = [_source(n) for n in before]
        was = figures(traced(original, sources, feeds), len(sources)) if before else []
        self._was = dict(zip(before, was, strict=True))

    def measured(self, these: Sequence[Node]) -> None:
        """Sees to some of ``left`` by what goes into them on the data, each with the ones before it corrected."""
        for node in list(these):
            changed = self._nodes[node]
            (now,) = figures(self._walk.at(changed, [_source(changed)]), 1)
            self._give(node, now)

    def computed(self, layer: Layer, rounded: Array, inputs: Inputs) -> None:
        """Sees to those directly behind a layer with the weights ``rounded``, by the sums of its inputs."""
        behind = [n for n in self.left if n.inputs[0] is layer.node.output]
        if not behind or not inputs.rows:
            return
        assert inputs.total is not None
        w = rounded.astype(np.float64)
        mean = w @ inputs.total / inputs.rows
        square = np.einsum("nk,nk->n", w @ inputs.hessian, w) / inputs.rows
        bias = layer.bias
        if layer.window is not None and layer.node.input(2) is not None:
            bias = const(layer.node.input(2))
            if bias is None:
                return  # computed in the model: the outputs have to be measured
        variance = np.maximum(square - mean * mean, 0)
        for node in behind:
            self._give(node, Figures(mean if bias is None else mean + bias, variance))

    def _give(self, node: Node, now: Figures) -> None:
        self.left = [n for n in self.left if n is not node]
        then, changed = self._was[node], self._nodes[node]
        if _same(now, then):
            return
        mean, variance = const(node.input(_MEAN)), const(node.input(_VARIANCE))
        assert mean is not None and variance is not None
        usable = (then.variance > 0) & (now.variance > 0)
        stretch = np.where(usable, np.sqrt(now.variance / np.where(usable, then.variance, 1)), 1.0)
        moved = now.mean + stretch * (mean.astype(np.float64) - then.mean)
        for place, data, old in ((_MEAN, moved, mean), (_VARIANCE, stretch**2 * variance, variance)):
            value = changed.inputs[place]
            assert value is not None
            name = self._graph.fresh_name(value.name)
            changed.set_input(place, self._graph.constant(data.astype(old.dtype), name))
        self.changed += 1


def reestimate(original: IRModel, quantised: IRModel, feeds: Sequence[Mapping[str, Any]], tell: Tell) -> int:
    """Sees to every BatchNormalization of ``quantised`` in front of which something was rounded, in the model's order;
    the number of those changed."""
    tell("batch normalisation", 0.0)
    fixes = Fixes(original, quantised, feeds, Walk(quantised, feeds, RUNS_ON))
    every = fixes.left
    for number, node in enumerate(every):
        tell("batch normalisation", number / len(every))
        fixes.measured([node])
    return fixes.changed


def _same(a: Figures, b: Figures) -> bool:
    return np.allclose(a.mean, b.mean, rtol=1e-5, atol=1e-7) and np.allclose(a.variance, b.variance, rtol=1e-5)


def _source(node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None
    return value


def figures(found: Iterable[Sequence[Array]], count: int) -> list[Figures]:
    """Mean and variance of the channels (axis 1) of each of ``count`` arrays over all feeds."""
    sums: list[tuple[float, Array, Array]] = [(0.0, np.zeros(1), np.zeros(1)) for _ in range(count)]
    for arrays in found:
        for i, array in enumerate(arrays):
            wide = array.astype(np.float64)
            axes = tuple(a for a in range(wide.ndim) if a != 1)
            seen, first, second = sums[i]
            sums[i] = (
                seen + wide.size / wide.shape[1], first + wide.sum(axis=axes), second + (wide * wide).sum(axis=axes)
            )  # fmt: skip
    out = []
    for seen, first, second in sums:
        mean = first / max(seen, 1.0)
        out.append(Figures(mean, np.maximum(second / max(seen, 1.0) - mean * mean, 0)))
    return out
