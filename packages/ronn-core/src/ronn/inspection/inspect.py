"""Takes a model through all stages, without running it, and notes what it sees."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ronn._version import __version__
from ronn.compile import Request, Signature, to_assigned, to_plan, to_portable, to_specialised
from ronn.errors import RonnError
from ronn.frontend.notes import node_notes
from ronn.inspection.book import Book
from ronn.inspection.facts import facts
from ronn.inspection.memory import MemoryMap, memory_map
from ronn.ir.graph import Graph, clone
from ronn.ir.types import TensorType
from ronn.ops.infer import infer_types
from ronn.options import SessionOptions
from ronn.page import render
from ronn.plan.plan import Plan
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.model import Model
    from ronn.partition import Target


@dataclass(frozen=True)
class Inspection:
    """What was found. ``signature``: the input types that the memory is for. ``notes``: what could not be found out,
    and what the reader should know. ``placement``: provider and reason by number of the node in ``book``.
    ``sources``: what the exporter wrote beside nodes of the file, by node name and by ``%`` and first output."""

    facts: dict[str, Any]
    book: dict[str, Any]
    placement: dict[int, tuple[str, str]]
    memory: Sequence[MemoryMap]
    signature: str
    notes: Sequence[str]
    sources: Mapping[str, Mapping[str, str]]

    def as_data(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        reasons: dict[tuple[str, str], int] = {}
        placed = {n: reasons.setdefault(pair, len(reasons)) for n, pair in self.placement.items()}
        return {
            "ronn": __version__,
            "facts": self.facts,
            **self.book,
            "placement": placed,
            "places": list(reasons),
            "memory": [m.as_data() for m in self.memory],
            "signature": self.signature,
            "notes": list(self.notes),
            **_numbered_sources(self.sources),
        }

    def html(self) -> str:
        """One page with everything in it: graph, stages and passes, placement, memory. It loads nothing."""
        title = f"{Path(self.facts['file']).name}: RONN inspection"
        return render(title, self.as_data(), package="ronn.inspection", name="inspect")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page."""
        Path(path).write_text(self.html(), encoding="utf-8", errors="replace")


def inspect_model(
    model: Model,
    *,
    providers: Sequence[Any] | None = None,
    options: SessionOptions | None = None,
    sizes: Mapping[str, int] | None = None,
    path: Path | None = None,
) -> Inspection:
    """Compiles the model and notes every stage; nothing is run.

    providers, options: as for ``Session``. sizes: for symbolic dims of the inputs, so that the memory can be laid out;
    those that are left out get a guess, and the result says which. path: the model's file.

    Raises ModelError and OptionError as a session does; what only later stages cannot do becomes a note.
    """
    from ronn.targets import resolve_targets

    chosen = SessionOptions() if options is None else options
    targets = resolve_targets(providers, chosen)
    book = Book(model.ir)
    signature, guessed = input_types(model, {**chosen.dimensions, **({} if sizes is None else sizes)})
    notes: list[str] = []
    request = Request(model.ir, targets, chosen, observe=book.after)
    imported = clone(model.ir.graph)
    infer_types(imported)
    book.take("imported", imported)
    book.stage = "portable"
    portable = to_portable(request)
    book.take("portable", portable)
    book.stage = "specialised"
    mark = book.mark()
    try:
        graph = to_specialised(portable, signature, request)
    except RonnError as e:
        if not guessed:
            raise
        notes.append(
            f"With {_listed(guessed)}, which are guesses, the model does not fit together: {e.message}. "
            "Give sizes with --dim."
        )
        book.rewind(mark)
        signature, guessed = tuple(v.type for v in portable.inputs), {}
        graph = to_specialised(portable, None, request)
    if guessed:
        notes.append(f"The model leaves sizes open; from 'specialised' on these are guesses: {_listed(guessed)}.")
    book.take("specialised", graph)
    placement, memory = {}, []
    try:
        book.stage = "assigned"
        graph = to_assigned(graph, request)
        book.take("assigned", graph)
        placement = book.placement(graph)
        memory = _memory(graph, replace(request, observe=None), targets, notes)
    except RonnError as e:
        notes.append(f"{type(e).__name__}: {e}")
    model.ir.give_files_back()
    text = ", ".join("?" if t is None else str(t) for t in signature)
    sources = _sources(model, path, chosen)
    return Inspection(facts(model, path), book.data(), placement, memory, text, notes, sources)


def _sources(model: Model, path: Path | None, options: SessionOptions) -> dict[str, Mapping[str, str]]:
    """Notes of the file's nodes by first output, and by name too: what passes make keeps one of them, mostly."""
    if path is None:
        return {}
    found: dict[str, Mapping[str, str]] = dict(node_notes(path, options.limits))
    for node in model.graph:
        notes = found.get(f"%{node.outputs[0].name}") if node.outputs else None
        if node.name and notes is not None:
            found.setdefault(node.name, notes)
    return found


def _numbered_sources(sources: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    numbers = {id(notes): i for i, notes in enumerate({id(n): n for n in sources.values()}.values())}
    distinct = {id(n): dict(n) for n in sources.values()}
    return {"sources": list(distinct.values()), "source_of": {k: numbers[id(n)] for k, n in sources.items()}}


def _memory(graph: Graph, request: Request, targets: Sequence[Target], notes: list[str]) -> list[MemoryMap]:
    plan = to_plan(graph, request)
    try:
        inner = plan.all_plans()[1:]
        maps = [memory_map(plan, "the model")] + [memory_map(p, _inner_title(p, i)) for i, p in enumerate(inner)]
    finally:
        plan.close()
    late = [n for call in plan.calls if type(call.fn).__name__ == "Tail" for n in call.nodes]
    if late:
        notes.append(
            f"The sizes of {len(late)} nodes depend on values that a run computes: they are planned then, and are not "
            "on the memory map."
        )
    return maps


def _inner_title(plan: Plan, number: int) -> str:
    first = next((n.label for call in plan.calls for n in call.nodes), "empty")
    return f"subgraph {number + 1}, from {first}"


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


def input_types(model: Model, sizes: Mapping[str, int]) -> tuple[Signature, dict[str, int]]:
    """The types of the inputs with every size known, and which of the sizes are guesses, by dim.

    An input of unknown rank or of another kind than a tensor stays as it is.
    """
    from ronn.cli.inputs import guessed_size

    found: list[Any] = []
    guessed: dict[str, int] = {}
    for info in model.inputs:
        type_ = info.type
        if isinstance(type_, TensorType) and info.shape is not None:
            shape: list[int] = []
            for axis, dim in enumerate(info.shape):
                if isinstance(dim, int):
                    shape.append(dim)
                elif dim is not None and dim in sizes:
                    shape.append(sizes[dim])
                else:
                    name = dim if dim is not None else f"{info.name}[{axis}]"
                    shape.append(guessed.setdefault(name, guessed_size(dim, axis, len(info.shape))))
            type_ = TensorType(type_.dtype, tuple(shape))
        found.append(type_)
    return tuple(found), guessed
