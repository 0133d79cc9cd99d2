"""``quantize``: a model with layers of few bits, and what that costs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ronn.errors import OptionError
from ronn.frontend.proto import save_model
from ronn.ir.graph import Graph, IRModel, clone
from ronn.ir.types import DType
from ronn.model import Model, Source, open_model
from ronn.numerics.batches import Batches, read_batches, read_labels
from ronn.numerics.samples import Data, Reading
from ronn.numerics.task import Limits, QualityError, Task, judge
from ronn.options import SessionOptions
from ronn.records import dataclass, replace
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.quantize import norms
from ronn_provider_bitnet.quantize.fit import FORMS, ORDINARY, TRITS, Candidate, candidates
from ronn_provider_bitnet.quantize.grids import FITS
from ronn_provider_bitnet.quantize.layers import SMALLEST, Layer, Skipped, find_layers, without_shapes
from ronn_provider_bitnet.quantize.report import Report, Row
from ronn_provider_bitnet.quantize.search import Point, good_enough, path, within_bytes
from ronn_provider_bitnet.quantize.sequential import in_turn
from ronn_provider_bitnet.quantize.statistics import RUNS_ON, Inputs, Tell, hessians
from ronn_provider_bitnet.quantize.write import BLOCKS, Packed, drop_unused
from ronn_provider_bitnet.quantize.write import replace as put_in
from ronn_provider_bitnet.quantize.write_activations import quantise_activations
from ronn_provider_bitnet.quantize.write_conv import Integers, replace_weights
from ronn_provider_bitnet.quantize.write_trits import Plane, replace_by_trits

if TYPE_CHECKING:
    from ronn.session import Session

BITS = tuple(FITS)
KEPT = "float"
METHODS = ("nearest", "gptq")
NOISE = 0.01
"""Over signal: of rounding that is small enough for its effects to add up, and large enough to be seen."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """The quantised model, and the report about it."""

    ir: IRModel
    report: Report

    def session(self, **options: Any) -> Session:
        """A session on it, on the bitnet provider unless ``providers`` says otherwise."""
        return Model(self.ir).create_session(**{"providers": list(RUNS_ON), **options})

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Writes it as ONNX. Raises QualityError, and writes nothing, where the report has faults and ``force`` is not
        given."""
        faults = self.report.faults
        if faults and not force:
            raise QualityError(
                f"{os.fspath(path)} was not written: the quantised model is too far off.\n- " + "\n- ".join(faults),
                hint="more bits, groups (64), two planes, more data, layers left out; --force writes it all the same",
            )
        save_model(self.ir, Path(path))


@dataclass(frozen=True)
class Settings:
    """How layers are quantised.

    bits: ``1``, ``1.58``, ``2``, ``4`` or ``8``; with a budget the fewest. edge_bits: of the first and the last layer,
    ``float`` leaves them. group: columns with one scale, a power of two from 16 on; 0: whole rows. method: ``nearest``,
    ``gptq``, or None for gptq where there are data. planes: 2 for two ternary planes. skip: names of layers that stay.
    smallest: weights that a layer has at least. max_error: decibels of signal over error that the outputs keep,
    max_bytes: of all constants; each makes a search for the bits of each layer. batch_norm: whether it is re-estimated.
    sequential: whether each layer is rounded for what the rounded ones before it make of the data, where there are
    some. form: of the file, ``onnx`` or ``trits``, the smallest, which the provider ``bitnet`` alone runs. activations:
    bits of what goes into layers but the edges: 16, or 8, which is written into the model.
    """

    bits: str = "1.58"
    edge_bits: str = "8"
    group: int = 0
    method: str | None = None
    planes: int = 1
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    max_error: float | None = None
    max_bytes: int | None = None
    batch_norm: bool = True
    sequential: bool = True
    form: str = ORDINARY
    activations: int = 16

    def __post_init__(self) -> None:
        for name, text, allowed in (("bits", self.bits, BITS), ("edge-bits", self.edge_bits, (*BITS, KEPT))):
            if text not in allowed:
                raise OptionError(f"--{name} {text} is not one of {', '.join(allowed)}")
        if self.method is not None and self.method not in METHODS:
            raise OptionError(f"--method {self.method} is not one of {', '.join(METHODS)}")
        if self.form not in FORMS:
            raise OptionError(f"--form {self.form} is not one of {', '.join(FORMS)}")
        if self.group and (self.group < BLOCKS[0] or self.group & (self.group - 1)):
            raise OptionError(
                f"--group {self.group} is no power of two from {BLOCKS[0]} on", hint="--group 64, or --group row"
            )
        if self.planes not in (1, 2) or (self.planes == 2 and self.bits != "1.58"):
            raise OptionError(f"--planes {self.planes} with --bits {self.bits}: two planes are of ternary weights",
                              hint="--bits 1.58 --planes 2")  # fmt: skip
        if self.activations not in (8, 16):
            raise OptionError(f"--activations {self.activations} is neither 8 nor 16")
        if self.activations == 8 and (self.planes == 2 or self.form == TRITS):
            raise OptionError("--activations 8 is for one plane, in the form onnx")
        if self.max_error is not None and self.max_bytes is not None:
            raise OptionError("--max-error and --max-bytes are two budgets", hint="give one of them")

    @property
    def searches(self) -> bool:
        return self.max_error is not None or self.max_bytes is not None

    def bits_of(self, layer: Layer) -> list[str]:
        """What may be chosen for a layer."""
        if layer.edge:
            return [self.edge_bits]
        return list(BITS[BITS.index(self.bits) :]) if self.searches else [self.bits]


def quantize(
    model: Source,
    *,
    data: Data = None,
    test: Data = None,
    labels: Any = None,
    scores: str | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
    dims: Mapping[str, int] | None = None,
    shapes: Sequence[str] = (),
    seed: int = 0,
    normalize: str = "unit",
    tell: Tell = lambda what, share: None,
) -> Quantized:
    """Quantises the constant weights of MatMul, Gemm and Conv; the original is left as it is.

    data: inputs to calibrate with, as ``ronn compare`` takes them; None: weights are rounded for themselves.
    test: inputs to judge by; None: ``data``, or made up ones. labels: the right classes of ``test``, in order, an array
        or a file; ``scores`` names the output that they go with, where it is not the one that looks like it.
    tell: called with what is done just now and its share done.

    Raises ModelError for a bad model; InputError for data that do not fit; OptionError for settings that cannot be
    met, and where no layer can be quantised.
    """
    settings = Settings() if settings is None else settings
    original = open_model(model, SessionOptions(), None)
    if data is None and (settings.method == "gptq" or settings.max_error is not None):
        what = "--method gptq" if settings.method == "gptq" else "--max-error"
        raise OptionError(f"{what} needs inputs to go by", hint="--data FILE")
    reading = Reading({} if dims is None else dims, shapes, seed, normalize)
    calibration = None if data is None else read_batches(data, original.inputs, reading)
    judged = calibration if test is None and calibration is not None else read_batches(test, original.inputs, reading)
    work = _Work(without_shapes(original.ir), settings, calibration, judged, tell)
    work.labels, work.scores = None if labels is None else read_labels(labels), scores
    return work.run(Limits() if limits is None else limits)


class _Made(NamedTuple):
    """A quantised model, what its layers became, how many BatchNormalization were changed, and how it does."""

    ir: IRModel
    picked: Sequence[Candidate]
    changed: int
    task: Task


class _Work:
    labels: np.ndarray | None = None
    scores: str | None = None

    def __init__(
        self, original: IRModel, settings: Settings, calibration: Batches | None, judged: Batches, tell: Tell
    ) -> None:
        self.original, self.settings, self.tell = original, settings, tell
        self.calibration, self.judged = calibration, judged
        layers, skipped = find_layers(original.graph, skip=settings.skip, smallest=settings.smallest)
        kept = [la for la in layers if la.edge and settings.edge_bits == KEPT]
        self.skipped = [*skipped, *(Skipped(la.name, la.w.nbytes, "an edge, kept in float32") for la in kept)]
        self.layers = [la for la in layers if la not in kept]
        if not self.layers:
            named = "; ".join(f"{s.name}: {s.reason}" for s in self.skipped[:5])
            why = named if named else "there is no product with a constant"
            raise OptionError(f"{original.source}: no layer can be quantised ({why})")
        self.session = Model(original).create_session()

    def run(self, limits: Limits) -> Quantized:
        with self.session:
            if self.settings.searches or not self.in_turn:
                made, tried = self.choose(self.candidates())
            else:
                made, tried = self.sequential([self.settings.bits_of(layer)[0] for layer in self.layers]), []
        ir, picked, changed, task = made
        rows = tuple(_row(layer, c) for layer, c in zip(self.layers, picked, strict=True))
        report = Report(
            rows, tuple(self.skipped), self.calibration is not None, self._data_text(), _constants(self.original.graph),
            _constants(ir.graph), changed, len(norms.norms(self.original)), task,
            limits, self.settings.max_error, tuple(tried), self.original.opset_imports.get("", 1),
            self.settings.form, self.settings.activations,
        )  # fmt: skip
        return Quantized(ir, report)

    def candidates(self) -> list[list[Candidate]]:
        """What each layer could be, in the order of the layers."""
        s = self.settings
        method = s.method if s.method is not None else "gptq" if self.calibration is not None else "nearest"
        found: dict[str, list[Candidate]] = {}
        done = 0

        def fit(layer: Layer, inputs: Any) -> None:
            nonlocal done
            self.tell(f"rounding {layer.name}", done / len(self.layers))
            done += 1
            found[layer.node.output.name] = candidates(
                layer, s.bits_of(layer), inputs=inputs, method=method, group=s.group, planes=s.planes,
                form=s.form,
            )

        if self.calibration is None:
            for layer in self.layers:
                fit(layer, None)
        else:
            for layers, inputs in hessians(self.original, self.layers, self.calibration.feeds, self.tell):
                for layer in layers:
                    fit(layer, inputs)
        return [found[layer.node.output.name] for layer in self.layers]

    @property
    def in_turn(self) -> bool:
        """Whether layers are rounded one after another."""
        return self.calibration is not None and self.settings.sequential and self.settings.method != "nearest"

    def choose(self, options: list[list[Candidate]]) -> tuple[_Made, list[Point]]:
        """The model with the candidates that the settings ask for, and the points that a search tried."""
        made: dict[tuple[int, ...], _Made] = {}

        def of(point: Point) -> _Made:
            if point.choice not in made:
                picked = [o[i] for o, i in zip(options, point.choice, strict=True)]
                made[point.choice] = self.sequential([c.bits for c in picked]) if self.in_turn else self.at_once(picked)
            return made[point.choice]

        tried: list[Point] = []
        weighed = self.weighed(options) if self.settings.searches else options
        if self.settings.max_bytes is not None:
            tried = within_bytes(weighed, self.settings.max_bytes, self.fixed_bytes())
            chosen = tried[-1]
        elif self.settings.max_error is not None:
            chosen, tried = good_enough(path(weighed), self.settings.max_error, lambda p: of(p).task.sqnr_db)
        else:
            chosen = path(options)[-1]
        return of(chosen), tried

    def weighed(self, options: Sequence[Sequence[Candidate]]) -> list[list[Candidate]]:
        """The candidates with what they are expected to do to the outputs as their noise: that of one of each layer,
        the nearest to NOISE, is measured with that layer alone rounded, on the first inputs there are."""
        found: list[list[Candidate]] = []
        feeds = (self.judged if self.calibration is None else self.calibration).feeds[:1]
        for number, few in enumerate(options):
            self.tell(f"what {self.layers[number].name} tells in the outputs", number / len(options))
            tried = min(few, key=lambda c: abs(math.log(max(c.noise, 1e-12) / NOISE)))
            if len(few) == 1 or tried.noise <= 0 or not math.isfinite(tried.noise):
                found.append(list(few))
                continue
            ir = self.build([tried if i == number else None for i in range(len(options))])
            with Model(ir).create_session(providers=list(RUNS_ON)) as quantised:
                effect = 10 ** (-judge(self.session, quantised, feeds).sqnr_db / 10)
            told = 0 < effect < math.inf
            found.append([replace(c, noise=c.noise * effect / tried.noise) if told else c for c in few])
        return found

    def sequential(self, bits: Sequence[str]) -> _Made:
        """The model with each layer rounded to its ``bits`` behind the ones before it."""
        assert self.calibration is not None
        s = self.settings
        chosen = {layer.node.output.name: b for layer, b in zip(self.layers, bits, strict=True)}

        def rounded(layer: Layer, inputs: Inputs) -> Candidate:
            wanted = [chosen[layer.node.output.name]]
            return candidates(
                layer, wanted, inputs=inputs, method="gptq", group=s.group, planes=s.planes, form=s.form
            )[0]

        ir, found, changed = in_turn(
            self.original, self.layers, rounded, put_candidate, self.calibration.feeds, self.tell,
            batch_norm=s.batch_norm,
        )  # fmt: skip
        self.finish(ir, self.layers)
        return _Made(ir, found, changed, self.measure(ir))

    def at_once(self, picked: Sequence[Candidate]) -> _Made:
        """The model with a choice of candidates."""
        ir = self.build(picked)
        changed = 0
        if self.settings.batch_norm and self.calibration is not None:
            changed = norms.reestimate(self.original, ir, self.calibration.feeds, self.tell)
            drop_unused(ir.graph, ir.overridable)
        return _Made(ir, picked, changed, self.measure(ir))

    def measure(self, ir: IRModel) -> Task:
        """How a quantised model does beside the original."""
        with Model(ir).create_session(providers=list(RUNS_ON)) as quantised:
            return judge(
                self.session, quantised, self.judged.feeds, labels=self.labels, scores=self.scores,
                made_up=self.judged.made_up, tell=lambda share: self.tell("comparing outputs", share),
            )  # fmt: skip

    def build(self, picked: Sequence[Candidate | None]) -> IRModel:
        """A copy of the model with its layers replaced; None: as they are."""
        graph = clone(self.original.graph)
        ir = replace(self.original, graph=graph, opset_imports=dict(self.original.opset_imports))
        copies, _ = find_layers(graph, skip=self.settings.skip, smallest=self.settings.smallest)
        by_output = {layer.node.output.name: layer for layer in copies}
        for layer, candidate in zip(self.layers, picked, strict=True):
            if candidate is not None:
                put_candidate(graph, by_output[layer.node.output.name], candidate)
        self.finish(ir, [layer for layer, c in zip(self.layers, picked, strict=True) if c is not None])
        return ir

    def finish(self, ir: IRModel, replaced: Sequence[Layer]) -> None:
        """What is to be done once layers of a model have been replaced."""
        drop_unused(ir.graph, ir.overridable)
        if self.settings.activations == 8:
            quantise_activations(ir.graph, [layer for layer in replaced if not layer.edge])
        if self.settings.form == TRITS:
            ir.opset_imports[DOMAIN] = 1

    def fixed_bytes(self) -> int:
        """Of the constants that no layer's choice changes."""
        return _constants(self.original.graph) - sum(layer.w.nbytes for layer in self.layers)

    def _data_text(self) -> str:
        own = self.calibration is not None and self.judged is self.calibration
        rows = f"{self.judged.name}, {len(self.judged)} run(s)"
        return f"{rows}: the data that layers were fitted to" if own else rows


def put_candidate(graph: Graph, layer: Layer, candidate: Candidate) -> None:
    """Puts a rounded layer in the place of ``layer`` of the graph."""
    if isinstance(candidate.parts[0], Plane):
        replace_by_trits(graph, layer, [p for p in candidate.parts if isinstance(p, Plane)])
    elif layer.window is None:
        put_in(graph, layer, [p for p in candidate.parts if isinstance(p, Packed)])
    else:
        replace_weights(graph, layer, [p for p in candidate.parts if isinstance(p, Integers)])


def _row(layer: Layer, c: Candidate) -> Row:
    n, k = layer.w.shape
    return Row(
        layer.name, layer.node.op, (n, k), c.bits, c.planes, c.group, c.method, c.sqnr_db, c.cosine, layer.w.nbytes,
        c.nbytes,
    )  # fmt: skip


def _stored(array: np.ndarray) -> int:
    bits = DType.of(array.dtype).bits
    return -(-array.size * bits // 8) if 0 < bits < 8 else array.nbytes


def _constants(graph: Graph) -> int:
    """Bytes that a file has of all constants, those of attributes and inner graphs included."""
    own = sum(_stored(v.data) for v in graph.initializers.values() if v.data is not None)
    for node in graph:
        own += sum(_stored(a) for a in node.attributes.values() if isinstance(a, np.ndarray))
        own += sum(_constants(g) for g in node.subgraphs())
    return own
