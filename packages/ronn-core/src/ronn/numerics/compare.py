"""``ronn.compare``: two models, or one model run in two ways, side by side: numbers, time, size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.benchmark.timing import PAUSE_S
from ronn.errors import InputError, OptionError, RonnError, nearest
from ronn.model import Model, Source
from ronn.numerics.candidate import Candidate
from ronn.numerics.comparison import Comparison, Row, Side, Spread
from ronn.numerics.difference import Difference, Tolerance, measure
from ronn.numerics.fallen import fallen
from ronn.numerics.matching import Matching, match
from ronn.numerics.runtime import OnnxRuntime, version
from ronn.numerics.samples import Data, Reading, Sample, read_samples
from ronn.numerics.timed import take_times
from ronn.options import SessionOptions
from ronn.session import Session
from ronn.usage import distinct_bytes
from ronn.variant import constants_of

if TYPE_CHECKING:
    from ronn.model import Options
    from ronn.targets import ProviderSpec

ONNXRUNTIME = "onnxruntime"
Progress = Callable[[str, float], None]
"""Told what is done next, and how much of it all is done, 0 to 1."""


def compare(
    a: Source,
    b: Source | None = None,
    data: Data = None,
    *,
    providers_a: Sequence[ProviderSpec] | None = None,
    providers_b: Sequence[ProviderSpec] | None = None,
    options_a: Options | None = None,
    options_b: Options | None = None,
    runtimes: Sequence[str] = (),
    rtol: float | None = None,
    atol: float | None = None,
    share: float = 0.0,
    nodes: bool = True,
    seconds: float = 2.0,
    batch: int | None = None,
    shapes: Sequence[str] = (),
    seed: int = 0,
    normalize: str = "unit",
    progress: Progress | None = None,
) -> Comparison:
    """Runs A and B on the same inputs and holds every output, and every value inside that both have, side by side.

    a, b: models, as for ``Session``. Without ``b`` the same model is run in two ways: as ``options_b`` and
        ``providers_b`` say; if they say nothing, on the ``reference`` provider with no pass that is not required.
    data: ``"random"`` or ``"random:5"``; a file or folder (.npz, .npy, .pb, .json, pictures), ``name=file``; arrays by
        name; or a list of these, a sample each. What is missing is made up.
    runtimes: others to hold against A as well: ``"onnxruntime"``.
    rtol, atol, share: what counts as equal, see ``Tolerance``.
    nodes: whether values inside are compared too. It takes the memory of all of them.
    seconds: how long to take times, in bursts in turn; 0 for not at all. batch: rows of the throughput, the latency
        then being of one; None: both are of the sample as it is.
    shapes: ``"x=1,3,224,224"`` for made-up inputs; seed: of them; normalize: how pictures become floats.

    Raises RonnError for what cannot be loaded or run.
    """
    options = [SessionOptions.of(options_a), SessionOptions.of(options_b)]
    if batch is not None and batch < 1:
        raise OptionError(f"a batch of {batch} rows", hint="1 or more")
    for name in runtimes:
        if name != ONNXRUNTIME:
            near = nearest(name, [ONNXRUNTIME])
            raise OptionError(f"there is no runtime {name!r}", hint=f"did you mean {near!r}?" if near else ONNXRUNTIME)
    same = b is None
    if same and providers_b is None and options_b is None:
        providers_b, options[1] = ["reference"], options[0].replace(optimization="none")
    work = _Work(progress)
    models = [_load(a, options[0], work, "A")]
    models.append(models[0] if same else _load(b, options[1], work, "B"))
    reading = Reading(options[0].dimensions, shapes, seed, normalize)
    samples = read_samples(data, models[0].inputs, reading)
    tolerance = Tolerance(rtol, atol, share)
    if any(o.precision != "float32" for o in options):
        tolerance = tolerance.narrowed()
    contestants: list[_Ronn | _Other] = [
        _Ronn("A", models[0], providers_a, options[0], samples[0], _renamed(models[0], models[0]), same, work),
        _Ronn("B", models[1], providers_b, options[1], samples[0], _renamed(models[0], models[1]), same, work),
    ]
    contestants += [_Other("C", models[0], options[0].threads, samples[0], work) for _ in dict.fromkeys(runtimes)]
    found = _differences(models, contestants, samples, tolerance, nodes, work)
    if seconds > 0:
        pause = PAUSE_S if any(isinstance(c, _Other) for c in contestants) else 0.0
        note = take_times(contestants, samples[0], models[0].inputs, seconds, batch=batch, pause=pause, tell=work.say)
        found.notes += [] if note is None else [note]
    for one in contestants:
        one.close()
    return found


class _Work:
    """Tells how far it all is."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._share = progress, 0.0

    def say(self, text: str, share: float | None = None) -> None:
        if share is not None:
            self._share = max(self._share, min(share, 1.0))
        if self._progress is not None:
            self._progress(text, self._share)


def _load(source: Source, options: SessionOptions, work: _Work, letter: str) -> Model:
    work.say(f"loading {letter}")
    return source if isinstance(source, Model) else Model.load(source, options)


def _name(model: Model) -> str:
    """The last two parts of the path: models of one kind are often called the same in folders of their own."""
    return "/".join(Path(str(model.ir.source)).parts[-2:])


def _renamed(a: Model, b: Model) -> dict[str, str]:
    """What B calls the inputs of A. InputError when they cannot be told."""
    names_a, names_b = [i.name for i in a.inputs], [i.name for i in b.inputs]
    if set(names_b) <= set(names_a):
        return {n: n for n in names_b}
    if len(names_a) == len(names_b):
        return dict(zip(names_a, names_b, strict=True))
    raise InputError(f"the models take other inputs: {', '.join(names_a)} and {', '.join(names_b)}")


class _Ronn:
    """A model in a session."""

    def __init__(
        self,
        letter: str,
        model: Model,
        providers: Sequence[ProviderSpec] | None,
        options: SessionOptions,
        sample: Sample,
        names: Mapping[str, str],
        same: bool,
        work: _Work,
    ) -> None:
        work.say(f"compiling {letter}")
        self.model, self.names = model, names
        began = time.perf_counter()
        self.session = Session(model, providers, options)
        loaded = time.perf_counter()
        self.session.run(self.feed(sample))
        done = time.perf_counter()
        graph = model.graph
        said = [_name(model)]
        if same or providers is not None:
            said.append("on " + ", ".join(self.session.providers))
        if same:
            said += [] if options.optimization == "full" else [f"passes {options.optimization}"]
            said += [] if options.precision == "float32" else [options.precision]
            said += [f"without {name}" for name in sorted(options.disabled_passes)]
        memory = self.session.memory()
        self.side = Side(
            letter, ", ".join(said), _file_bytes(model), distinct_bytes(constants_of(graph)), memory.packed,
            memory.total, (loaded - began) * 1e3, (done - loaded) * 1e3,
        )  # fmt: skip
        self.side.placement = self.session.placement().counts()
        self.side.nodes = len(self.session.placement())
        work.say(f"looking at the kernels of {letter}")
        try:
            candidate = Candidate.of(model.ir, self.session._targets, options, self.feed(sample))
            self.side.fallen = fallen(candidate)
        except RonnError as e:
            work.say(str(e))

    def feed(self, sample: Sample) -> dict[str, Any]:
        return {theirs: sample.feed[ours] for ours, theirs in self.names.items() if ours in sample.feed}

    def outputs(self, sample: Sample) -> dict[str, Any]:
        return dict(self.session.run(self.feed(sample)).items())

    def values(self, sample: Sample, names: Sequence[str]) -> dict[str, Any]:
        return dict(self.session.run(self.feed(sample), trace=names).items())

    def runner(self, sample: Sample) -> Callable[[], object]:
        feed = self.feed(sample)
        return lambda: self.session.run(feed)

    def placed(self) -> dict[str, str]:
        """Where nodes run, by their labels."""
        return {row.node: row.provider for row in self.session.placement()}

    def close(self) -> None:
        self.session.close()


class _Other:
    """The model of A in ONNX Runtime."""

    def __init__(self, letter: str, model: Model, threads: int, sample: Sample, work: _Work) -> None:
        work.say("loading in ONNX Runtime")
        began = time.perf_counter()
        self.runtime = OnnxRuntime(model.ir, threads=threads)
        loaded = time.perf_counter()
        self.runtime.run(sample.feed)
        done = time.perf_counter()
        name = f"{_name(model)}, onnxruntime {version()}"
        self.side = Side(letter, name, _file_bytes(model))
        self.side.load_ms, self.side.first_ms = (loaded - began) * 1e3, (done - loaded) * 1e3

    def outputs(self, sample: Sample) -> dict[str, Any]:
        return self.runtime.run(sample.feed)

    def runner(self, sample: Sample) -> Callable[[], object]:
        return partial(self.runtime.run, sample.feed)

    def close(self) -> None:
        """There is nothing to give back but the object."""


def _differences(
    models: Sequence[Model],
    contestants: Sequence[_Ronn | _Other],
    samples: Sequence[Sample],
    tolerance: Tolerance,
    nodes: bool,
    work: _Work,
) -> Comparison:
    a, b = contestants[0], contestants[1]
    assert isinstance(a, _Ronn) and isinstance(b, _Ronn)
    names_a = [i.name for i in models[0].outputs]
    names_b = [i.name for i in models[1].outputs]
    others = {c.side.letter: _renamed_outputs(names_a, names_b if c is b else names_a) for c in contestants[1:]}
    missing = [
        f"output {n!r} of A has no counterpart in {letter}"
        for letter, pairs in others.items()
        for n in names_a
        if n not in pairs
    ]
    rows = {
        (letter, n): Row(letter, n, other, "name" if n == other else "place", Spread())
        for letter, pairs in others.items()
        for n, other in pairs.items()
    }
    matching = _matching(models) if nodes else Matching((), (), ())
    placed = b.placed()
    inside = [Row("B", p.a, p.b, p.how, Spread(), p.node.label, p.node.op_id, placed.get(p.node.label, ""))
              for p in matching.pairs]  # fmt: skip
    # What is to be traced: values that are outputs are there anyway.
    wanted = [[p.a for p in matching.pairs if p.a not in names_a], [p.b for p in matching.pairs if p.b not in names_b]]
    for number, sample in enumerate(samples):
        work.say(f"sample {sample.name}", number / len(samples))
        expected = a.outputs(sample)
        for one in contestants[1:]:
            actual = one.outputs(sample)
            for n, other in others[one.side.letter].items():
                found = measure(expected[n], actual[other], tolerance)
                rows[one.side.letter, n].spread.found.append(found)
        if inside:
            work.say(f"values inside, {sample.name}", (number + 0.5) / len(samples))
            left, right = (s.values(sample, list(dict.fromkeys(w))) for s, w in zip((a, b), wanted, strict=True))
            for row, pair in zip(inside, matching.pairs, strict=True):
                row.spread.found.append(_inside(left[pair.a], pair.as_number(right[pair.b]), tolerance))
    kept, dropped = _fitting(inside)
    only_a = (*matching.only_a, *dropped)
    return Comparison(
        [c.side for c in contestants], list(rows.values()), kept, [s.name for s in samples], only_a, matching.only_b,
        missing,
    )  # fmt: skip


def _inside(expected: Any, actual: Any, tolerance: Tolerance) -> Difference:
    """Values inside may have another float type on the other side."""
    if isinstance(expected, np.ndarray) and isinstance(actual, np.ndarray) and expected.shape != actual.shape:
        long_a, long_b = ([d for d in array.shape if d != 1] for array in (expected, actual))
        if expected.size == actual.size and long_a == long_b:
            actual = actual.reshape(expected.shape)
    return measure(expected, actual, tolerance)


def _fitting(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The rows without those that were matched by their order and turn out to be of other shapes."""
    wrong = [r for r in rows if r.how == "order" and any(d.reason.startswith("shape ") for d in r.spread.found)]
    return [r for r in rows if r not in wrong], [r.node for r in wrong]


def _matching(models: Sequence[Model]) -> Matching:
    a, b = (m.graph for m in models)
    found = match(a, b)
    if a is not b:
        return found
    # Of one model each value is itself: bytes are compared as bytes.
    from ronn.numerics.matching import Pair

    return Matching(
        tuple(Pair(v.name, v.name, "name", n) for n in a for v in n.outputs if v.name and n.op != "Constant"), (), ()
    )


def _renamed_outputs(a: Sequence[str], b: Sequence[str]) -> dict[str, str]:
    if len(a) == len(b) and not set(a) & set(b):
        return dict(zip(a, b, strict=True))
    return {n: n for n in a if n in b}


def _file_bytes(model: Model) -> int | None:
    """Bytes of the model's file and of external data beside it; None where it came from no file."""
    path = Path(str(model.ir.source))
    if not path.is_file():
        return None
    import onnx
    from onnx.external_data_helper import ExternalDataInfo

    try:
        proto = onnx.load(str(path), load_external_data=False)
        files = {
            ExternalDataInfo(t).location
            for t in proto.graph.initializer
            if t.data_location == onnx.TensorProto.EXTERNAL
        }
    except Exception:  # newer than the installed onnx, which RONN's own frontend may read all the same
        files = set()
    return sum(int(p.stat().st_size) for p in (path, *(path.parent / f for f in files)) if p.is_file())


__all__ = ["compare"]
