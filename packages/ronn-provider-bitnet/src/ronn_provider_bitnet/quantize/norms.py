"""BatchNormalization re-estimated: rounding shifts and stretches what goes into it, which its mean and variance can
take back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import IRModel, Node, Value
from ronn.passes.edit import attr, const
from ronn.records import dataclass
from ronn_provider_bitnet.quantize.statistics import Tell, traced

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


def reestimate(original: IRModel, quantised: IRModel, feeds: Sequence[Mapping[str, Any]], tell: Tell) -> int:
    """Gives every BatchNormalization of ``quantised`` behind which something was rounded the mean and variance that
    make its output as the original's; the number of those changed.

    What the data's own figures are off from the model's is kept: where rounding makes x into a * x + b, mean m becomes
    a * m + b and variance v a**2 * v, with a and b of the data. Nodes are seen to in the model's order, each with the
    ones before it corrected.
    """
    before, after = norms(original), norms(quantised)
    if not after or len(before) != len(after):
        return 0
    tell("batch normalisation", 0.0)
    was = figures(original, [_source(n) for n in before], feeds)
    changed = 0
    for number, (node, then) in enumerate(zip(after, was, strict=True)):
        tell("batch normalisation", number / len(after))
        (now,) = figures(quantised, [_source(node)], feeds)
        if _same(now, then):
            continue
        mean, variance = const(node.input(_MEAN)), const(node.input(_VARIANCE))
        assert mean is not None and variance is not None
        usable = (then.variance > 0) & (now.variance > 0)
        stretch = np.where(usable, np.sqrt(now.variance / np.where(usable, then.variance, 1)), 1.0)
        moved = now.mean + stretch * (mean.astype(np.float64) - then.mean)
        graph = quantised.graph
        for place, data, old in ((_MEAN, moved, mean), (_VARIANCE, stretch**2 * variance, variance)):
            value = node.inputs[place]
            assert value is not None
            node.set_input(place, graph.constant(data.astype(old.dtype), graph.fresh_name(value.name)))
        changed += 1
    return changed


def _same(a: Figures, b: Figures) -> bool:
    return np.allclose(a.mean, b.mean, rtol=1e-5, atol=1e-7) and np.allclose(a.variance, b.variance, rtol=1e-5)


def _source(node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None
    return value


def figures(model: IRModel, values: Sequence[Value], feeds: Iterable[Mapping[str, Any]]) -> list[Figures]:
    """Mean and variance of the channels (axis 1) of each value over all feeds."""
    sums: list[tuple[float, Array, Array]] = [(0.0, np.zeros(1), np.zeros(1)) for _ in values]
    for arrays in traced(model, values, feeds):
        for i, array in enumerate(arrays):
            wide = array.astype(np.float64)
            axes = tuple(a for a in range(wide.ndim) if a != 1)
            count, first, second = sums[i]
            sums[i] = (
                count + wide.size / wide.shape[1], first + wide.sum(axis=axes), second + (wide * wide).sum(axis=axes)
            )  # fmt: skip
    found = []
    for count, first, second in sums:
        mean = first / max(count, 1.0)
        found.append(Figures(mean, np.maximum(second / max(count, 1.0) - mean * mean, 0)))
    return found
