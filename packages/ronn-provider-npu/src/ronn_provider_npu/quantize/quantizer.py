"""``quantize``: a model of int8, and what that costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ronn.errors import OptionError
from ronn.frontend.proto import save_model
from ronn.ir.graph import IRModel, Value, clone
from ronn.model import Model, Source, open_model
from ronn.numerics.batches import Batches, read_batches, read_labels
from ronn.numerics.samples import Data, Reading
from ronn.numerics.task import Limits, QualityError, Task, judge
from ronn.ops.infer import infer_types
from ronn.options import SessionOptions
from ronn.passes.edit import const
from ronn.records import dataclass, replace
from ronn.tools.convert import convert
from ronn.tools.export import export
from ronn_provider_npu.profiles import DeviceProfile
from ronn_provider_npu.profiles.claims import refusal
from ronn_provider_npu.quantize.equalise import equalise, pairs
from ronn_provider_npu.quantize.errors import measure
from ronn_provider_npu.quantize.observe import Seen, Tell, observe
from ronn_provider_npu.quantize.pointwise import Function
from ronn_provider_npu.quantize.ranges import METHODS, range_of
from ronn_provider_npu.quantize.report import Report, Tried
from ronn_provider_npu.quantize.rounding import moments
from ronn_provider_npu.quantize.scheme import Params, Scheme
from ronn_provider_npu.quantize.settings import ROUNDINGS, Settings
from ronn_provider_npu.quantize.steps import Analysis, Kept, Step, analyse
from ronn_provider_npu.quantize.write import Recipe, Written, write
from ronn_provider_npu.quantize.write_qdq import write_qdq

if TYPE_CHECKING:
    from ronn.session import Session

Array = np.ndarray
OPSET = 13
"""The least that a quantised model has: from it on all operators that move bytes take int8."""
ROWS = 8
"""Rows of calibration data that run at once: all values of such a run lie in memory together."""
CHOSEN_BY = 64
"""Rows at most by which ways to quantise are compared."""


@dataclass(frozen=True)
class Quantized:
    """The quantised model, and the report about it."""

    ir: IRModel
    report: Report

    def session(self, **options: Any) -> Session:
        """A session on it, as ``ronn.Session`` makes them."""
        return Model(self.ir).create_session(**options)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Writes it as ONNX. Raises QualityError, and writes nothing, where the report has faults and ``force`` is not
        given."""
        faults = self.report.faults
        if faults and not force:
            raise QualityError(
                f"{os.fspath(path)} was not written: the quantised model is too far off.\n- " + "\n- ".join(faults),
                hint="more calibration data, like those that it will see; nodes left out; or force=True",
            )
        save_model(self.ir, Path(path))


def quantize(
    model: Source,
    calibration: Data,
    profile: str | DeviceProfile | None = None,
    *,
    test: Data = None,
    labels: Any = None,
    scores: str | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
    dims: Mapping[str, int] | None = None,
    shapes: Sequence[str] = (),
    seed: int = 0,
    normalize: str = "unit",
    providers: Sequence[Any] | None = None,
    tell: Tell = lambda what, share: None,
) -> Quantized:
    """Quantises activations and weights of a float32 model to int8; the original is left as it is.

    calibration: inputs like those that the model will see, as ``ronn compare`` takes them (arrays, ``.npz``, folders,
        feeds); a hundred or so are enough. profile: that the model is to fit, its name, path, or itself: bytes are of a
        dtype that it multiplies, and the report tells what it would not take. test: others to judge by; None: the last
        quarter of the calibration data,
        which then is not calibrated with. labels: the right classes of ``test``, in order, an array or a file;
        ``scores`` names the output that they go with. providers: that run the models meanwhile, None: the usual ones.
    tell: called with what is done just now and its share done.

    Raises ModelError for a bad model; InputError for data that do not fit; OptionError for settings that cannot be
    met, and where nothing can be quantised.
    """
    held_to = DeviceProfile.of(profile) if isinstance(profile, str) else profile
    settings = Settings(scheme_of(held_to)) if settings is None else settings
    if calibration is None:
        raise OptionError("int8 needs inputs to calibrate with", hint="calibration=FOLDER, --calibration FOLDER")
    original = open_model(model, SessionOptions(), None)
    reading = Reading({} if dims is None else dims, shapes, seed, normalize)
    fitted = read_batches(calibration, original.inputs, reading, ROWS)
    if test is None:
        fitted, judged = _divided(fitted)
    else:
        judged = read_batches(test, original.inputs, reading, ROWS)
    work = _Work(prepare(original.ir), settings, fitted, judged, providers, tell)
    return work.run(limits, None if labels is None else read_labels(labels), scores, held_to)


def scheme_of(profile: DeviceProfile | None) -> Scheme:
    """Bytes that a profile multiplies: uint8 with int8 weights where it has both."""
    if profile is None or "uint8" in profile.products:
        return Scheme()
    return Scheme("int8")


def prepare(model: IRModel) -> IRModel:
    """The model as it is quantised: after RONN's passes, in an opset whose operators take bytes."""
    if model.opset_imports.get("", OPSET) < OPSET:
        model = convert(model, opset=OPSET).model
    model = export(model)
    infer_types(model.graph)
    return model


def _divided(data: Batches) -> tuple[Batches, Batches]:
    """What to calibrate with, and the last quarter to judge by; the same where there is one batch only."""
    if len(data) < 2:
        return data, data
    cut = len(data) - max(len(data) // 4, 1)
    return replace(data, feeds=data.feeds[:cut]), replace(data, feeds=data.feeds[cut:])


class _Way(NamedTuple):
    """How one model is quantised."""

    method: str
    bias_correction: bool
    equalise: bool
    rounding: str


class _Base(NamedTuple):
    """A float model, read, and what its values are."""

    model: IRModel
    analysis: Analysis
    seen: Mapping[str, Seen]


class _Work:
    def __init__(
        self, model: IRModel, settings: Settings, fitted: Batches, judged: Batches, providers: Sequence[Any] | None,
        tell: Tell,
    ) -> None:  # fmt: skip
        self.settings, self.fitted, self.judged = settings, fitted, judged
        self.providers, self.tell = providers, tell
        self.plain = self.observed(model)
        if not self.plain.analysis.steps:
            named = "; ".join(f"{k.name}: {k.reason}" for k in self.plain.analysis.kept[:5])
            raise OptionError(f"{model.source}: nothing can be quantised ({named if named else 'no node has floats'})")
        self.equal: _Base | None = None
        self.known_moments: dict[bool, Mapping[str, Array]] = {}
        self.ranges: dict[tuple[str, bool], Mapping[str, Params]] = {}
        self.session = Model(model).create_session(providers=providers)

    def observed(self, model: IRModel) -> _Base:
        analysis = analyse(model.graph, self.settings.skip)
        axes: dict[Value, int | None] = dict.fromkeys(analysis.values.values())
        for step in analysis.steps.values():
            if step.kind in ("conv", "gemm"):
                axes[step.inputs[0]] = 1 if step.kind == "conv" else -1
        return _Base(model, analysis, observe(model, axes, self.fitted.feeds, self.tell, self.providers))

    def base(self, equal: bool) -> _Base:
        if not equal:
            return self.plain
        if self.equal is None:
            per_channel = self.settings.scheme.per_channel
            model = equalise(self.plain.model, self.plain.analysis, self.plain.seen, per_channel=per_channel)
            infer_types(model.graph)
            self.equal = self.observed(model)
        return self.equal

    def run(self, limits: Limits | None, labels: Any, scores: str | None, profile: DeviceProfile | None) -> Quantized:
        with self.session:
            way, tried = self.choose()
            found = self.written(way, self.settings.form)
            base = self.base(way.equalise)
            self.tell("what it costs", 0.0)
            rows = measure(base.model, base.analysis, found, self.params(way), self.judged.feeds, self.providers)
            task = self.measured(found, self.judged.feeds, labels, scores)
        own = self.judged is self.fitted
        data = f"{self.judged.name}, {len(self.judged)} run(s){': what was calibrated with' if own else ''}"
        report = Report(
            tuple(rows), base.analysis.kept, way._asdict(), tuple(tried), replace(task, made_up=self.judged.made_up),
            Limits() if limits is None else limits, data, self.fitted.name, len(self.fitted), self.settings,
            () if profile is None else _outside(found.ir, profile),
        )  # fmt: skip
        return Quantized(found.ir, report)

    def choose(self) -> tuple[_Way, list[Tried]]:
        """The way with the largest signal over error: ranges first, then what is done to weights."""
        s = self.settings
        can = bool(pairs(self.plain.analysis))
        options = {
            "method": METHODS if s.method is None else (s.method,),
            "bias_correction": (True, False) if s.bias_correction is None else (s.bias_correction,),
            "equalise": (False, *((True,) if can else ())) if s.equalise is None else (s.equalise and can,),
            "rounding": ROUNDINGS if s.rounding is None else (s.rounding,),
        }
        best = _Way(*(o[0] for o in options.values()))
        measured: dict[_Way, float] = {}
        feeds = self.fitted.feeds[: max(CHOSEN_BY // ROWS, 1)]
        if any(len(o) > 1 for o in options.values()):
            for name, values in options.items():
                for value in values:
                    way = best._replace(**{name: value})
                    if way not in measured:
                        self.tell(f"{way.method} ranges", len(measured) / 8)
                        measured[way] = self.measured(self.written(way, "qoperator"), feeds).sqnr_db
                best = max(measured, key=lambda w: measured[w])
        return best, [Tried(w._asdict(), db) for w, db in measured.items()]

    def written(self, way: _Way, form: str) -> Written:
        base = self.base(way.equalise)
        means = {n: s.means for n, s in base.seen.items() if s.sums is not None} if way.bias_correction else None
        recipe = Recipe(self.settings.scheme, self.params(way), means, self.moments(way))
        return (write if form == "qoperator" else write_qdq)(base.model, base.analysis, recipe)

    def moments(self, way: _Way) -> Mapping[str, Array] | None:
        """Of what goes into layers, where weights are rounded by them."""
        if way.rounding == ROUNDINGS[0]:
            return None
        if way.equalise not in self.known_moments:
            base = self.base(way.equalise)
            self.known_moments[way.equalise] = moments(
                base.model, base.analysis, self.fitted.feeds, self.tell, self.providers
            )
        return self.known_moments[way.equalise]

    def params(self, way: _Way) -> Mapping[str, Params]:
        key = (way.method, way.equalise)
        if key not in self.ranges:
            self.ranges[key] = parameters(self.base(way.equalise), self.settings, way.method)
        return self.ranges[key]

    def measured(self, found: Written, feeds: Any, labels: Any = None, scores: str | None = None) -> Task:
        with Model(found.ir).create_session(providers=self.providers) as quantised:
            return judge(self.session, quantised, feeds, labels=labels, scores=scores)


def _outside(model: IRModel, profile: DeviceProfile) -> tuple[Kept, ...]:
    """The nodes that a profile does not take."""
    graph = clone(model.graph)
    infer_types(graph)
    reasons = ((node, refusal(node, profile)) for node in graph)
    return tuple(Kept(node.label, node.op_id, reason) for node, reason in reasons if reason)


def parameters(base: _Base, settings: Settings, method: str) -> dict[str, Params]:
    """Of every quantised value, by name; values that only move have those of what they come from."""
    values = base.analysis.values
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while first.get(name, name) != name:
            name = first[name]
        return name

    for step in base.analysis.steps.values():
        if step.kind == "move":
            for output in step.outputs:
                first[root(output.name)] = root(step.inputs[0].name)
    groups: dict[str, list[str]] = {}
    for name in values:
        groups.setdefault(root(name), []).append(name)
    natural = {v.name for s in base.analysis.steps.values() if s.kind == "softmax" for v in s.outputs}
    found: dict[str, Params] = {}
    for names in groups.values():
        numbers = np.concatenate([base.seen[n].numbers for n in names])
        chosen = "minmax" if any(n in natural for n in names) else method
        functions = _only_through(base.analysis, values[names[0]]) if len(names) == 1 else []
        params = range_of(numbers, settings.scheme, chosen, functions)
        found |= dict.fromkeys(names, params)
    return found


def _only_through(analysis: Analysis, value: Value) -> list[Function]:
    """The functions of one number through which alone a value is seen; none where it is seen otherwise too."""
    users: list[Step] = [s for s in analysis.steps.values() if value in s.inputs]
    covered = {n for s in users for n in s.nodes}
    if not users or any(s.kind != "table" for s in users) or const(value) is not None:
        return []
    if analysis.graph.is_output(value) or any(n not in covered for n in value.consumers):
        return []
    return [Function(s.inputs[0], s.outputs[0], s.nodes) for s in users]
