"""What quantising does to each value, measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import IRModel, Value
from ronn.numerics.walk import traced
from ronn.passes.edit import const
from ronn.records import dataclass
from ronn_provider_npu.quantize.scheme import Params
from ronn_provider_npu.quantize.steps import Analysis, Step
from ronn_provider_npu.quantize.write import Written

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Row:
    """A step. low, high: the range of its output; sqnr_db: power of the float output over that of the difference, in
    decibels, errors of all steps before included; cosine of both."""

    name: str
    op: str
    kind: str
    shape: str
    scale: float
    zero: int
    low: float
    high: float
    sqnr_db: float
    cosine: float


def measure(
    model: IRModel, analysis: Analysis, written: Written, params: Mapping[str, Params],
    feeds: Sequence[Mapping[str, Any]], providers: Sequence[Any] | None = None,
) -> list[Row]:  # fmt: skip
    """Each step's output beside that of the float model, over the feeds."""
    outputs = [(s, s.outputs[0]) for s in analysis.steps.values()]
    made = {v.name: v for v in written.ir.graph.values()}
    quantised = [made[written.bytes_of[v.name]] for _, v in outputs]
    sums = np.zeros((len(outputs), 4))
    floats = traced(model, [v for _, v in outputs], feeds, providers)
    for real, codes in zip(floats, traced(written.ir, quantised, feeds, providers), strict=True):
        for place, ((_, value), a, q) in enumerate(zip(outputs, real, codes, strict=True)):
            sums[place] += _sums(a, params[value.name].real(q))
    return [_row(s, v, params[v.name], numbers) for (s, v), numbers in zip(outputs, sums, strict=True)]


def _sums(a: Array, b: Array) -> Array:
    x, y = a.reshape(-1), b.reshape(-1)
    gap = x - y
    return np.array([_dot(x, x), _dot(y, y), _dot(x, y), _dot(gap, gap)])


def _dot(x: Array, y: Array) -> float:
    return float(np.einsum("i,i->", x, y, dtype=np.float64))


def _row(step: Step, value: Value, params: Params, sums: Array) -> Row:
    a, b, both, off = (float(s) for s in sums)
    db = math.inf if off == 0 else -math.inf if a == 0 else 10 * math.log10(a / off)
    cosine = 1.0 if off == 0 else 0.0 if a == 0 or b == 0 else min(1.0, both / math.sqrt(a * b))
    every = params.every()
    shape = " x ".join(str(d) for d in (step.weights.shape if step.weights is not None else ()))
    op = "+".join(n.op for n in step.nodes if any(const(v) is None for v in n.inputs if v is not None))
    return Row(
        step.name, op, step.kind, shape, params.scale, params.zero, float(every[0]), float(every[-1]), db, cosine
    )
