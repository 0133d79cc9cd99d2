"""What goes into each layer, summed up over the data: the Hessians of GPTQ. Memory is bounded: layers whose Hessians do
not fit together are seen to in further rounds over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import InputError
from ronn.ir.graph import IRModel, Value
from ronn.model import Model
from ronn.records import dataclass
from ronn_provider_bitnet.quantize.layers import Layer

Array = np.ndarray
Tell = Callable[[str, float], None]
"""What is done just now, and the share of it that is done, 0 to 1."""
MEMORY = 1 << 29
"""Bytes of Hessians that are summed at once."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """hessian: f64[K, K], the sum over ``rows`` rows of their outer products."""

    hessian: Array
    rows: int


def hessians(
    model: IRModel, layers: Sequence[Layer], feeds: Sequence[Mapping[str, Any]], tell: Tell, memory: int = MEMORY
) -> Iterator[tuple[list[Layer], Inputs]]:
    """Layers that have one input, with what went into them, input by input.

    Raises InputError where an input of a layer is not finite or has another width than the layer's weights.
    """
    by_input: dict[Value, list[Layer]] = {}
    for layer in layers:
        by_input.setdefault(layer.x, []).append(layer)
    for group in _rounds(by_input, memory):
        sums = {x: Inputs(np.zeros((k, k)), 0) for x in group if (k := by_input[x][0].w.shape[1])}
        for number, values in enumerate(traced(model, group, feeds)):
            tell("inputs of layers", number / len(feeds))
            for x, array in zip(group, values, strict=True):
                sums[x] = _add(sums[x], array, by_input[x][0])
        for x in group:
            yield by_input[x], sums.pop(x)


def traced(model: IRModel, values: Sequence[Value], feeds: Iterable[Mapping[str, Any]]) -> Iterator[list[Array]]:
    """What ``values`` of the model's graph hold, feed by feed."""
    inputs = {v.name for v in model.graph.inputs}
    outputs = {id(v): name for v, name in zip(model.graph.outputs, model.graph.output_names, strict=True)}
    names = [outputs.get(id(v), v.name) for v in values]
    inner = [n for v, n in zip(values, names, strict=True) if n not in inputs and id(v) not in outputs]
    with Model(model).create_session() as session:
        for feed in feeds:
            found = session.run(feed, trace=inner)
            yield [np.asarray(feed[n] if n in inputs else found[n]) for n in names]


def _rounds(by_input: Mapping[Value, list[Layer]], memory: int) -> Iterator[list[Value]]:
    group: list[Value] = []
    taken = 0
    for x, layers in by_input.items():
        size = 8 * layers[0].w.shape[1] ** 2
        if group and taken + size > memory:
            yield group
            group, taken = [], 0
        group.append(x)
        taken += size
    if group:
        yield group


def _add(so_far: Inputs, array: Array, layer: Layer) -> Inputs:
    k = layer.w.shape[1]
    if array.ndim == 0 or array.shape[-1] != k:
        raise InputError(f"%{layer.x.name} is {list(array.shape)}, and {layer.name!r} multiplies rows of {k}")
    rows = array.reshape(-1, k).astype(np.float64)
    if not np.isfinite(rows).all():
        raise InputError(
            f"%{layer.x.name}, which goes into {layer.name!r}, is NaN or infinite on the data",
            hint="`ronn bisect` finds where from; or leave the data out",
        )
    hessian = so_far.hessian
    hessian += rows.T @ rows
    return Inputs(hessian, so_far.rows + len(rows))
