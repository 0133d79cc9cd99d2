"""The graph as RONN's passes leave it, back as ONNX: operators of ONNX's own (or of the model's own domains) only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ronn.compile import Request, to_portable, to_specialised
from ronn.errors import ModelError, OptionError
from ronn.ir.graph import Graph, IRModel, Metadata, Node
from ronn.ops.infer import merge_types
from ronn.ops.schema import find_schema, schema_of
from ronn.options import SessionOptions
from ronn.partition import Target, ask
from ronn.provider.contract import CompiledPart, Device, No, Part, Provider, Support, Yes
from ronn.records import replace
from ronn.targets import resolve_targets
from ronn.values import check_dimensions

LEVELS = ("none", "basic", "full")
_STANDARD = frozenset(("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "ai.onnx.training"))
_SAME_MEANING = frozenset({"Attention", "HardSwish"})
"""Operators that passes offer, whose later versions only take more types and inputs."""


def export(
    model: IRModel,
    *,
    level: str = "full",
    dimensions: Mapping[str, int] | None = None,
    disabled_passes: Sequence[str] = (),
) -> IRModel:
    """The model after the passes of ``level``, in operators that its own opset has. Inputs, outputs, their names and
    the metadata stay; calls of functions are put in place.

    dimensions: sizes that symbolic dims are fixed to. A fusion whose operator a newer opset brought is not made:
    convert the model to that one first (``convert(model, opset=...)``). Constants that a caller could override become
    plain constants.

    Raises OptionError for an unknown level or dim, ModelError where functions of the model speak other versions of a
    domain in a way that one model cannot.
    """
    if level not in LEVELS:
        raise OptionError(f"level={level!r} is not known", hint=f"one of {', '.join(LEVELS)}")
    sizes = {} if dimensions is None else dict(dimensions)
    check_dimensions(sizes, model.graph)
    options = SessionOptions(optimization=level, dimensions=sizes, disabled_passes=tuple(disabled_passes))
    onnx = _Onnx(model)
    request = Request(model, (Target(onnx, onnx.devices()[0], {}),), options)
    graph = to_portable(request)
    if sizes:
        graph = to_specialised(graph, None, request)
    _one_version(graph, model)
    forget_types(graph)
    _name_apart(graph, set())
    for value, declared in zip(graph.outputs, model.graph.outputs, strict=True):
        value.type = merge_types(value.type, declared.type)
    imports = {d: v for d, v in model.opset_imports.items() if d == "" or any(n.domain == d for n in graph.all_nodes())}
    return replace(model, graph=graph, opset_imports=imports, functions={}, overridable=(), metadata=_metadata(model))


class _Onnx(Provider):
    """Stands for whoever reads the file: takes the operators of the model's opsets, and those of domains that the model
    has itself. Constants are folded by the providers of this environment."""

    name: ClassVar[str] = "onnx"
    folds: ClassVar[bool] = True

    def __init__(self, model: IRModel) -> None:
        self.imports = model.opset_imports
        self.own = {n.domain for n in model.graph.all_nodes()} - {"ronn"}
        self.own |= {n.domain for f in model.functions.values() for n in f.body.all_nodes()}
        self._targets: tuple[Target, ...] | None = None

    def supports(self, node: Node, device: Device) -> Support:
        if node.domain not in _STANDARD:
            return Yes() if node.domain in self.own else No(f"{node.domain} is none of the model's domains")
        imported = self.imports.get(node.domain)
        if imported is None:
            return No(f"the model imports no opset of {node.domain}")
        schema = find_schema(node.domain, node.op, imported)
        if schema is None:
            return No(f"opset {imported} has no {node.op}")
        known = schema_of(node)
        same = schema == known or (node.op in _SAME_MEANING and node.version <= imported)
        return Yes() if same else No(f"{node.op} of opset {imported} is another one")

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        """Only ever asked for constants."""
        if self._targets is None:
            self._targets = resolve_targets(None)
        (node,) = part.nodes
        for target in self._targets:
            if target.device.memory == "host" and isinstance(ask(target, node), Yes):
                return target.provider.compile_for_folding(part, target.device, target.options)
        raise ModelError(f"nobody computes {node.op_id}", node=node)


def _one_version(graph: Graph, model: IRModel) -> None:
    """Gives every node the version that the model imports. ModelError where it would mean something else."""
    for node in graph.all_nodes():
        wanted = model.opset_imports.get(node.domain)
        if wanted is None or node.version == wanted:
            continue
        now = schema_of(node)
        if find_schema(node.domain, node.op, wanted) != now and node.op not in _SAME_MEANING:
            raise ModelError(
                f"{node.op_id} is of version {node.version}, where the model imports {wanted}, in which it is another",
                node=node,
                hint="a function of the model speaks another opset: `ronn convert --opset` brings both to one",
            )
        node.version = wanted


def forget_types(graph: Graph) -> None:
    """Leaves types out that whoever reads the file infers. Of operators that nobody else knows they stay."""
    kept = set(graph.outputs)
    for node in graph:
        if node.domain in _STANDARD:
            for value in node.outputs:
                if value not in kept:
                    value.type = None
        for sub in node.subgraphs():
            forget_types(sub)


def _name_apart(graph: Graph, used: set[str]) -> None:
    """Gives every node a name of its own, or none."""
    for node in graph:
        if node.name:
            base, count = node.name, 0
            while node.name in used:
                count += 1
                node.name = f"{base}.{count}"
            used.add(node.name)
        for sub in node.subgraphs():
            _name_apart(sub, used)


def _metadata(model: IRModel) -> Metadata:
    import onnx

    meta = model.metadata
    opsets = [onnx.helper.make_opsetid(d, v) for d, v in model.opset_imports.items()]
    try:
        least = onnx.helper.find_min_ir_version_for(opsets, ignore_unknown=True)
    except ValueError:  # an opset that the installed onnx does not know
        least = meta.ir_version
    return replace(meta, ir_version=max(meta.ir_version, least, 4))
