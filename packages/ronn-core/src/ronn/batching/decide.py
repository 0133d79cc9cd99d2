"""Along which axes the requests of a batch are joined, and why not where they are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ronn.batching.rows import MixesRows, counts_rows, follow, mentions
from ronn.compile import Request, bind, to_portable
from ronn.errors import OptionError, RonnError
from ronn.ir.dims import Sym, sym
from ronn.ir.graph import Graph, IRModel, clone
from ronn.ir.types import TensorType
from ronn.records import dataclass, replace

if TYPE_CHECKING:
    from ronn.session import Session


@dataclass(frozen=True, slots=True)
class Batching:
    """How a model takes several requests in one run.

    dim: the dim that counts rows, as the model calls it; empty where the inputs' first dims have no common name.
    inputs: for each input the axis along which requests are joined; None: it must be the same in all of them.
    outputs: for each output the axis along which it is cut; None: it is the same for all of them.
    proved: the graph was followed node by node, and no row touches another (otherwise the caller says so).
    reason: why requests cannot be joined; empty where they can.
    """

    dim: str
    inputs: Mapping[str, int | None]
    outputs: Mapping[str, int | None]
    proved: bool
    reason: str

    @property
    def joins(self) -> bool:
        """Whether requests are joined; otherwise they run one by one."""
        return not self.reason

    def __str__(self) -> str:
        if self.reason:
            return f"requests run one by one: {self.reason}"
        sides = (
            ", ".join(f"{n} axis {a}" if a is not None else f"{n} shared" for n, a in side.items())
            for side in (self.inputs, self.outputs)
        )
        how = "no row touches another" if self.proved else "as the caller says"
        return f"requests are joined along {self.dim or 'the first dim'} ({how}): {' -> '.join(sides)}"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A dim that may count rows: its name in the graph that is followed, and the axes of the inputs that have it."""

    dim: str
    symbol: str
    axes: Mapping[str, int]


def decide(session: Session) -> Batching:
    """Looks for a dim along which requests can be joined, and proves for one that rows do not touch each other.

    Costs about as much as making a session, without any kernel.
    """
    model, options = session.model, session.options
    reasons: list[str] = []
    typed: dict[str, Graph] = {}
    for candidate in _candidates(model.graph, options.dimensions):
        renamed = candidate.symbol if candidate.symbol != candidate.dim else ""
        graph = typed.get(renamed)
        if graph is None:
            graph = typed[renamed] = _graph(session, candidate)
        try:
            states = follow(graph, candidate.axes, candidate.symbol)
        except MixesRows as e:
            reasons.append(str(e) if 0 in candidate.axes.values() else f"along {candidate.dim}: {e}")
            continue
        outputs = {n: s if isinstance(s, int) else None for n, s in zip(graph.output_names, states, strict=True)}
        if all(a is None for a in outputs.values()):
            reasons.append(f"no output depends on {candidate.dim or 'the first dims'}")
            continue
        return Batching(candidate.dim, _all_inputs(session, candidate), outputs, True, "")
    return Batching("", {}, {}, False, reasons[0] if reasons else "no dim of the inputs may count rows")


def assume(session: Session) -> Batching:
    """The axes by the shapes alone, for callers who know that rows do not touch each other.

    OptionError where the shapes already say that requests cannot be joined.
    """
    for candidate in _candidates(session.model.graph, session.options.dimensions):
        graph = _graph(session, candidate)
        outputs: dict[str, int | None] = {}
        for name, value in zip(graph.output_names, graph.outputs, strict=True):
            shape = value.tensor.shape
            found = [i for i, d in enumerate(shape if shape is not None else ()) if mentions(d, candidate.symbol)]
            if shape is not None and len(found) == 1 and counts_rows(shape[found[0]], candidate.symbol):
                outputs[name] = found[0]
        if len(outputs) == len(graph.outputs):
            return Batching(candidate.dim, _all_inputs(session, candidate), outputs, False, "")
    raise OptionError(
        "join=True: there is no dim that counts the rows of inputs and of every output",
        hint=f"leave join out; {decide(session)}",
    )


def _all_inputs(session: Session, candidate: _Candidate) -> dict[str, int | None]:
    return {v.name: candidate.axes.get(v.name) for v in session.model.graph.inputs}


def _candidates(graph: Graph, fixed: Mapping[str, int]) -> Iterator[_Candidate]:
    """Dims that may count rows: those named at axis 0 of some input, the most frequent first; all dims at axis 0 that
    may vary, as one; other named ones."""
    axes: dict[str, dict[str, int]] = {}
    twice: set[str] = set(fixed)
    leading: list[str] = []
    for value in graph.inputs:
        shape = value.tensor.shape
        for axis, dim in enumerate(shape if shape is not None else ()):
            if isinstance(dim, Sym) and dim.is_name:
                name = str(dim)
                if value.name in axes.setdefault(name, {}):
                    twice.add(name)
                axes[name][value.name] = axis
                if axis == 0 and name not in leading:
                    leading.append(name)
    for name in sorted(leading, key=lambda n: -len(axes[n])):
        if name not in twice:
            yield _Candidate(name, name, axes[name])
    first = {v.name: v.tensor.shape[0] for v in graph.inputs if v.tensor.shape}
    varying = {n: d for n, d in first.items() if not isinstance(d, int) and str(d) not in twice}
    if None in varying.values() or len(set(varying.values())) > 1:
        yield _Candidate("", _fresh(graph), dict.fromkeys(varying, 0))
    for name in axes:
        if name not in twice and name not in leading:
            yield _Candidate(name, name, axes[name])


def _fresh(graph: Graph) -> str:
    taken = {n for v in graph.values() for d in (v.tensor.shape or ()) if isinstance(d, Sym) for n in d.names()}
    name = "rows"
    while name in taken:
        name += "_"
    return name


def _graph(session: Session, candidate: _Candidate) -> Graph:
    """The model's graph, simplified and typed, with the candidate's dim in its inputs."""
    ir = session.model.ir
    graph = clone(ir.graph)
    for value in graph.inputs:
        axis, shape = candidate.axes.get(value.name), value.tensor.shape
        if axis is not None and shape is not None:
            value.type = TensorType(value.dtype, (*shape[:axis], sym(candidate.symbol), *shape[axis + 1 :]))
    others = {n: s for n, s in session.options.dimensions.items() if n != candidate.symbol}
    bind(graph, None, others)
    options = session.options.replace(optimization="basic")
    try:
        return to_portable(Request(_with(ir, graph), session._targets, options))
    except RonnError as e:
        raise OptionError(f"the model cannot be followed with {candidate.dim or 'one first dim'}: {e}") from e


def _with(ir: IRModel, graph: Graph) -> IRModel:
    return replace(ir, graph=graph)
