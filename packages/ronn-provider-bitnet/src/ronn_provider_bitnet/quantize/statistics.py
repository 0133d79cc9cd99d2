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
from ronn_provider_bitnet.quantize.windows import Window, windows

Array = np.ndarray
Tell = Callable[[str, float], None]
"""What is done just now, and the share of it that is done, 0 to 1."""
_Source = tuple[Value, Window | None]
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
    by_input: dict[_Source, list[Layer]] = {}
    for layer in layers:
        by_input.setdefault((layer.x, layer.window), []).append(layer)
    for group in _rounds(by_input, memory):
        widths = {source: by_input[source][0].w.shape[1] for source in group}
        sums = {source: Inputs(np.zeros((k, k)), 0) for source, k in widths.items()}
        for number, values in enumerate(traced(model, [x for x, _ in group], feeds)):
            tell("inputs of layers", number / len(feeds))
            for source, array in zip(group, values, strict=True):
                sums[source] = _add(sums[source], array, by_input[source][0])
        for source in group:
            yield by_input[source], sums.pop(source)


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


def _rounds(by_input: Mapping[_Source, list[Layer]], memory: int) -> Iterator[list[_Source]]:
    group: list[_Source] = []
    taken = 0
    for source, layers in by_input.items():
        size = 8 * layers[0].w.shape[1] ** 2
        if group and taken + size > memory:
            yield group
            group, taken = [], 0
        group.append(source)
        taken += size
    if group:
        yield group


def _add(so_far: Inputs, array: Array, layer: Layer) -> Inputs:
    k = layer.w.shape[1]
    if layer.window is None and (array.ndim == 0 or array.shape[-1] != k):
        raise InputError(f"%{layer.x.name} is {list(array.shape)}, and {layer.name!r} multiplies rows of {k}")
    if not np.isfinite(array).all():
        raise InputError(
            f"%{layer.x.name}, which goes into {layer.name!r}, is NaN or infinite on the data",
            hint="`ronn bisect` finds where from; or leave the data out",
        )
    hessian, count = so_far.hessian, so_far.rows
    for part in [array.reshape(-1, k)] if layer.window is None else windows(array, layer.window):
        rows = part.astype(np.float64)
        hessian += rows.T @ rows
        count += len(rows)
    return Inputs(hessian, count)
