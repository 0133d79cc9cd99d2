"""Does a model that a tool made give what the model before it gave: both are run on the same inputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import InputError, RonnError
from ronn.ir.graph import IRModel
from ronn.ir.types import DType, TensorType
from ronn.model import Model
from ronn.numerics.difference import Difference, Tolerance, each
from ronn.numerics.samples import Data, Reading, Sample, read_samples
from ronn.records import dataclass
from ronn.session import Session
from ronn.values import ValueInfo


@dataclass(frozen=True, slots=True)
class Row:
    """One output of one run: which inputs, its name, and how far it is from the one before."""

    sample: str
    output: str
    difference: Difference


def verify(
    before: IRModel,
    after: str | os.PathLike[str] | IRModel,
    data: Data = None,
    *,
    dimensions: Mapping[str, int] | None = None,
    shapes: Sequence[str] = (),
    seed: int = 0,
    tolerance: Tolerance | None = None,
) -> list[Row]:
    """Runs both models on ``data`` (made up by default) and compares every output.

    Inputs are cast to what the second model takes, its floats may be narrower. A model that cannot be run is an output
    that differs, with the error as the reason.
    """
    reading = Reading({} if dimensions is None else dict(dimensions), tuple(shapes), seed)
    samples, expected = _before(before, data, reading)
    try:
        with Session(Model(after) if isinstance(after, IRModel) else after) as second:
            types = {i.name: i.type for i in second.inputs}
            return _rows(
                samples,
                expected,
                lambda feed: second.run({n: _cast(v, types.get(n)) for n, v in feed.items() if n in types}),
                tolerance,
            )
    except RonnError as e:
        return [_not_run(e)]


def verify_halves(
    before: IRModel,
    halves: tuple[str | os.PathLike[str], str | os.PathLike[str]],
    data: Data = None,
    *,
    dimensions: Mapping[str, int] | None = None,
    shapes: Sequence[str] = (),
    seed: int = 0,
    tolerance: Tolerance | None = None,
) -> list[Row]:
    """As ``verify``, for a model that was cut in two: the second half runs on what the first gives, and on inputs."""
    reading = Reading({} if dimensions is None else dict(dimensions), tuple(shapes), seed)
    samples, expected = _before(before, data, reading)
    try:
        with Session(halves[0]) as prefix, Session(halves[1]) as suffix:

            def run(feed: Mapping[str, Any]) -> Mapping[str, Any]:
                first = prefix.run({i.name: feed[i.name] for i in prefix.inputs if i.name in feed})
                there = {**feed, **dict(first.items())}
                second = suffix.run({i.name: there[i.name] for i in suffix.inputs if i.name in there})
                return {**there, **dict(second.items())}

            return _rows(samples, expected, run, tolerance)
    except RonnError as e:
        return [_not_run(e)]


def _before(model: IRModel, data: Data, reading: Reading) -> tuple[list[Sample], list[Mapping[str, Any]]]:
    """The inputs, and what the model gives for each."""
    with Session(Model(model)) as session:
        samples = read_samples(data, [ValueInfo.of(v) for v in model.graph.inputs], reading)
        return samples, [_expected(session, sample) for sample in samples]


def _rows(
    samples: Sequence[Sample],
    expected: Sequence[Mapping[str, Any]],
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    tolerance: Tolerance | None,
) -> list[Row]:
    within = Tolerance() if tolerance is None else tolerance
    rows: list[Row] = []
    try:
        for sample, outputs in zip(samples, expected, strict=True):
            rows += [Row(sample.name, name, d) for name, d in each(outputs, run(sample.feed), within)]
    except RonnError as e:
        rows.append(_not_run(e))
    return rows


def _not_run(error: RonnError) -> Row:
    return Row("", "", Difference(False, f"cannot be run: {error}"))


@dataclass(frozen=True, slots=True)
class Beyond:
    """A value that is larger than a narrow type can hold: its name, its largest finite magnitude, the node that makes
    it."""

    value: str
    largest: float
    node: str


def beyond(
    model: IRModel,
    narrow: IRModel,
    data: Data = None,
    *,
    dimensions: Mapping[str, int] | None = None,
    shapes: Sequence[str] = (),
    seed: int = 0,
) -> list[Beyond]:
    """The values of the main graph that are float16 in ``narrow`` and exceed it when ``model`` runs on ``data``, in
    their order. RONN itself may compute with more than float16 on the way, others do not. All values are in memory at
    once."""
    reading = Reading({} if dimensions is None else dict(dimensions), tuple(shapes), seed)
    halves = {v.name for n in narrow.graph for v in n.outputs if v.dtype is DType.FLOAT16}
    named = {v.name: n for n in model.graph if n.op != "Constant" for v in n.outputs if v.name in halves}
    if not named:
        return []
    limit = float(np.finfo(np.float16).max)
    found: dict[str, float] = {}
    with Session(Model(model)) as session:
        for sample in read_samples(data, [ValueInfo.of(v) for v in model.graph.inputs], reading):
            public = set(model.graph.output_names)
            results = session.run(sample.feed, trace=[n for n in named if n not in public])
            for name, value in results.items():
                if isinstance(value, np.ndarray) and value.dtype == np.float32 and name in named:
                    finite = np.abs(value[np.isfinite(value)])
                    largest = float(finite.max()) if finite.size else 0.0
                    if largest > limit:
                        found[name] = max(largest, found.get(name, 0.0))
    return [Beyond(name, found[name], node.label) for name, node in named.items() if name in found]


def _expected(session: Session, sample: Sample) -> Mapping[str, Any]:
    try:
        return session.run(sample.feed)
    except RonnError as e:
        raise InputError(
            f"the model that was given does not run on {sample.name}, so that nothing can be compared: {e.message}",
            hint="inputs that suit it: --data FILE, --shape NAME=1,2,3 or --dim NAME=N; --no-verify compares nothing",
        ) from e


def _cast(value: Any, type: Any) -> Any:
    if isinstance(value, np.ndarray) and isinstance(type, TensorType) and type.dtype is not None:
        floats = type.dtype.is_float and value.dtype.kind in "fV"
        return value.astype(type.dtype.numpy) if floats and value.dtype != type.dtype.numpy else value
    return value
