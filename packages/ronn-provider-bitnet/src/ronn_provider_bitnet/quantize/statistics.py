"""What goes into each layer, summed up over the data: the Hessians of GPTQ. Memory is bounded: layers whose Hessians do
not fit together are seen to in further rounds over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import InputError
from ronn.ir.graph import IRModel, Value
from ronn.numerics.walk import Walk, traced
from ronn.records import dataclass, replace
from ronn_provider_bitnet.quantize.layers import Layer
from ronn_provider_bitnet.quantize.windows import Window, windows

Array = np.ndarray
Tell = Callable[[str, float], None]
"""What is done just now, and the share of it that is done, 0 to 1."""
Source = tuple[Value, Window | None]
"""A value, and how a convolution looks through it: layers of one source have one Hessian."""
RUNS_ON = ("bitnet",)
"""Providers that a quantised model runs on."""
MEMORY = 1 << 29
"""Bytes of Hessians that are summed at once."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """hessian: f64[K, K], the sum over ``rows`` rows of their outer products. crossed: f64[K, K], of the rows that the
    original model has there with these, and total: f64[K], their sum; None where they were not asked for."""

    hessian: Array
    rows: int
    crossed: Array | None = None
    total: Array | None = None


def source_of(layer: Layer) -> Source:
    return layer.x, layer.window


def hessians(
    model: IRModel, layers: Sequence[Layer], feeds: Sequence[Mapping[str, Any]], tell: Tell, memory: int = MEMORY
) -> Iterator[tuple[list[Layer], Inputs]]:
    """Layers that have one input, with what went into them, input by input.

    Raises InputError where an input of a layer is not finite or has another width than the layer's weights.
    """
    by_input: dict[Source, list[Layer]] = {}
    for layer in layers:
        by_input.setdefault(source_of(layer), []).append(layer)
    for group in _rounds(by_input, memory):
        widths = {source: by_input[source][0].w.shape[1] for source in group}
        sums = {source: Inputs(np.zeros((k, k)), 0) for source, k in widths.items()}
        for number, values in enumerate(traced(model, [x for x, _ in group], feeds)):
            tell("inputs of layers", number / len(feeds))
            for source, array in zip(group, values, strict=True):
                sums[source] = _add(sums[source], array, by_input[source][0])
        for source in group:
            yield by_input[source], sums.pop(source)


def _rounds(by_input: Mapping[Source, list[Layer]], memory: int) -> Iterator[list[Source]]:
    group: list[Source] = []
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
    hessian, count = so_far.hessian, so_far.rows
    for rows in _rows(array, layer):
        hessian += rows.T @ rows
        count += len(rows)
    return Inputs(hessian, count)


def crossed(walks: tuple[Walk, Walk], pairs: Sequence[tuple[Layer, Layer]]) -> list[Inputs]:
    """What goes into layers of a model, as sums with what goes into the same layers of the original.

    walks: through the one and the other, in front of these layers still. pairs: a layer of the one and the other, for
    each; those of one source share their sums. Raises as ``hessians``.
    """
    sources = {source_of(a): (a, b) for a, b in pairs}
    sums = {}
    for source, (a, _) in sources.items():
        k = a.w.shape[1]
        sums[source] = Inputs(np.zeros((k, k)), 0, np.zeros((k, k)), np.zeros(k))
    here = walks[0].at(pairs[0][0].node, [a.x for a, _ in sources.values()])
    there = walks[1].at(pairs[0][1].node, [b.x for _, b in sources.values()])
    for now, was in zip(here, there, strict=True):
        for (source, (a, b)), x, y in zip(sources.items(), now, was, strict=True):
            so_far = sums[source]
            count = so_far.rows
            assert so_far.crossed is not None and so_far.total is not None
            for rows, others in zip(_rows(x, a), _rows(y, b), strict=True):
                so_far.hessian[:] += rows.T @ rows
                so_far.crossed[:] += others.T @ rows
                so_far.total[:] += rows.sum(axis=0)
                count += len(rows)
            sums[source] = replace(so_far, rows=count)
    return [sums[source_of(a)] for a, _ in pairs]


def _rows(array: Array, layer: Layer) -> Iterator[Array]:
    """What a layer multiplies with, f64[rows, K], some at a time."""
    k = layer.w.shape[1]
    if layer.window is None and (array.ndim == 0 or array.shape[-1] != k):
        raise InputError(f"%{layer.x.name} is {list(array.shape)}, and {layer.name!r} multiplies rows of {k}")
    if not np.isfinite(array).all():
        raise InputError(
            f"%{layer.x.name}, which goes into {layer.name!r}, is NaN or infinite on the data",
            hint="`ronn bisect` finds where from; or leave the data out",
        )
    for part in [array.reshape(-1, k)] if layer.window is None else windows(array, layer.window):
        yield part.astype(np.float64)
