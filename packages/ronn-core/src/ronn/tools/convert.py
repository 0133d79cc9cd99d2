"""Models of another opset, IR version or float type: ``ronn convert``."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from ronn.errors import ModelError, OptionError
from ronn.frontend.onnx import load
from ronn.frontend.proto import model_to_proto
from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.ops.infer import infer_types, merge_types
from ronn.ops.schema import find_schema, max_opset, schema_of
from ronn.records import dataclass, field, replace
from ronn.tools.export import export, forget_types
from ronn.tools.half import Report, narrow_model
from ronn.tools.versions import Missing, idle_attributes, missing, needs

if TYPE_CHECKING:
    import onnx

_HELD = "ronn.held"
_MAX_NAMED = 8
_LEFT_OUT = 1024  # bytes of a constant from which onnx's converter need not see it
_ADAPTER = re.compile(r"(?:[Nn]o [Aa]dapter.*? for|adapter.*?for|Adapter) (?:operator )?'?(\w+)'?")


@dataclass
class Conversion:
    """A converted model, what was done, and the report on narrow floats (None where there are none)."""

    model: IRModel
    notes: list[str] = field(default_factory=list)
    half: Report | None = None


def convert(
    model: IRModel,
    *,
    opset: int | None = None,
    ir: int | None = None,
    weights: str | None = None,
    io: bool = False,
    keep: Collection[str] = (),
    only_storage: bool = False,
) -> Conversion:
    """The model in another opset, IR version or float type. The order is: opset, floats, IR version.

    opset: version of ai.onnx. Nodes that both versions have alike are only restamped; for others onnx's version
        converter rewrites the model, functions put in place first.
    ir: the IR version that the file is stamped with.
    weights, io, keep, only_storage: see ``ronn.tools.half.narrow_model``.

    Raises OptionError for versions that nobody knows, or that the model cannot have; ModelError, naming operator and
    versions, where onnx's converter fails.
    """
    made = Conversion(model)
    if opset is not None:
        _to_opset(made, opset)
    if weights is not None:
        made.model, made.half = narrow_model(made.model, weights, io=io, keep=keep, only_storage=only_storage)
    elif io or keep or only_storage:
        raise OptionError("nothing is narrowed", hint="--weights float16 or --weights bfloat16 says to what")
    _restamp_ir(made, ir)
    return made


def _restamp_ir(made: Conversion, ir: int | None) -> None:
    meta, least = made.model.metadata, needs(made.model).ir
    if ir is None:
        if least.version > meta.ir_version > 0:
            made.model = replace(made.model, metadata=replace(meta, ir_version=least.version))
            made.notes.append(f"IR version {meta.ir_version} -> {least.version}: {least.why}")
        return
    if ir < least.version:
        raise OptionError(f"IR version {ir} cannot hold the model", hint=f"{least.why} needs {least.version}")
    if ir != meta.ir_version:
        made.model = replace(made.model, metadata=replace(meta, ir_version=ir))
        made.notes.append(f"IR version {meta.ir_version} -> {ir}")


# --- opsets


def _to_opset(made: Conversion, opset: int) -> None:
    model = made.model
    newest, now = max_opset(""), model.opset_imports.get("")
    if not 1 <= opset <= newest:
        raise OptionError(f"there is no opset {opset}", hint=f"the newest that is known here is {newest}")
    if now is None or now == opset:
        made.notes.append(f"opset {opset} as before" if now is not None else "no node of ai.onnx: nothing to convert")
        return
    lacking = missing(model, opset)
    if not lacking:
        made.model = _restamped(model, opset)
        made.notes.append(f"opset {now} -> {opset}: every node is there as it is, nothing was rewritten")
        return
    if model.functions:
        model = export(model, level="none")
        made.notes.append(f"{len(made.model.functions)} function(s) put in place of their calls")
    made.model = _converted(model, now, opset, lacking)
    ops = sorted({m.op for m in lacking})
    told = ", ".join(ops[:6]) + (", ..." if len(ops) > 6 else "")
    made.notes.append(f"opset {now} -> {opset} by onnx's converter: {len(lacking)} node(s) change ({told})")


def _restamped(model: IRModel, opset: int) -> IRModel:
    graph = clone(model.graph)
    functions = {
        key: replace(f, body=clone(f.body), opset_imports={**f.opset_imports, "": opset})
        for key, f in model.functions.items()
    }
    for each in (graph, *(f.body for f in functions.values())):
        _stamp(each, opset)
    return replace(model, graph=graph, functions=functions, opset_imports={**model.opset_imports, "": opset})


def _stamp(graph: Graph, opset: int) -> None:
    for node in graph.all_nodes():
        if node.domain == "":
            _stamp_node(node, opset)


def _stamp_node(node: Node, opset: int) -> None:
    """Makes a node one of ``opset``, which has it but for attributes that say nothing."""
    idle = idle_attributes(node)
    node.version = opset
    schema = schema_of(node)
    for name in idle:
        if schema is not None and name not in schema.attributes:
            del node.attributes[name]


def _converted(model: IRModel, now: int, opset: int, lacking: Sequence[Missing]) -> IRModel:
    """The model as onnx's converter rewrites it; large constants do not go through. Where that fails it is shown only
    the nodes that have to change: it knows no way back for many that could stay as they are."""
    from onnx import version_converter

    proto, left_out = _without_large_constants(model, frozenset())
    try:
        found = version_converter.convert_version(proto, opset)
    except Exception:  # RuntimeError, ConvertError, inference errors: it has no base for its failures
        proto, _ = _without_large_constants(model, frozenset(m.node for m in lacking))
        try:
            found = version_converter.convert_version(proto, opset)
        except Exception as e:
            raise _failure(model, proto, now, opset, lacking, e) from e
    _drop_unknown(found.graph, model, opset)
    made = load(found)
    for node in made.graph.all_nodes():
        if node.domain == _HELD:
            node.domain, node.version = "", now
            _stamp_node(node, opset)
    made.opset_imports.pop(_HELD, None)
    for name, data in left_out.items():
        value = next(v for v in made.graph.inputs if v.name == name)
        made.graph.inputs.remove(value)
        value.data = data
        made.graph.initializers[name] = value
    _check(made, opset)
    forget_types(made.graph)  # the converter leaves those that an operator gave before
    for value, old in zip(made.graph.outputs, model.graph.outputs, strict=True):
        value.type = merge_types(value.type, old.type)
    meta = replace(model.metadata, ir_version=max(model.metadata.ir_version, made.metadata.ir_version))
    overridable = tuple(n for n in model.overridable if n in made.graph.initializers)
    return replace(made, metadata=meta, source=model.source, overridable=overridable, files=model.files)


def _drop_unknown(graph: onnx.GraphProto, model: IRModel, opset: int) -> None:
    """Drops attributes that the converter leaves though the opset lacks them, if leaving them out says the same."""
    for node in graph.node:
        schema = find_schema("", node.op_type, opset) if node.domain == "" else None
        newer = find_schema("", node.op_type, model.opset_imports.get("", opset)) if node.domain == "" else None
        for attribute in list(node.attribute):
            for inner in (attribute.g, *attribute.graphs):
                _drop_unknown(inner, model, opset)
            if schema is not None and newer is not None and attribute.name not in schema.attributes:
                value = newer.defaults.get(attribute.name)
                given = attribute.name == "noop_with_empty_axes" and any(a.name == "axes" for a in node.attribute)
                if given or (value is not None and value == helper.get_attribute_value(attribute)):
                    node.attribute.remove(attribute)


def _without_large_constants(model: IRModel, changing: frozenset[str]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The model for the converter, and the arrays that it lacks. ``changing``: labels of the nodes that it is to see;
    the others are put into a domain that it leaves alone. Empty: it sees all."""
    graph = clone(model.graph)
    infer_types(graph)
    if changing:
        for node in list(graph.all_nodes()):
            if node.domain == "" and node.label not in changing and next(node.subgraphs(), None) is None:
                node.domain = _HELD
    left_out: dict[str, np.ndarray] = {}
    for name, value in list(graph.initializers.items()):
        if value.data is not None and value.data.nbytes >= _LEFT_OUT:
            left_out[name] = value.data
            value.data = None
            del graph.initializers[name]
            graph.inputs.append(value)
    overridable = tuple(n for n in model.overridable if n not in left_out)
    return model_to_proto(replace(model, graph=graph, overridable=overridable)), left_out


def _check(made: IRModel, opset: int) -> None:
    """What the converter gives is not always of the opset that was asked for."""
    for node in made.graph.all_nodes():
        if node.domain == "" and find_schema("", node.op, opset) != schema_of(node):
            raise ModelError(f"onnx's converter left {node.op_id} in opset {node.version}", node=node)


def _failure(
    model: IRModel, proto: onnx.ModelProto, now: int, opset: int, lacking: Sequence[Missing], error: Exception
) -> ModelError:
    """Says at which step the converter fails, and at which operator."""
    step, reached, why = 1 if opset > now else -1, now, error
    from onnx import version_converter

    while reached != opset:
        try:
            proto = version_converter.convert_version(proto, reached + step)
        except Exception as e:
            why = e
            break
        reached += step
    text = " ".join(str(why).split())
    found = _ADAPTER.search(text)
    known = {n.op for n in model.graph.all_nodes()}
    op = found[1] if found is not None and found[1] in known else None
    if op is None:
        op = next((o for o in sorted(known, key=len, reverse=True) if re.search(rf"\b{o}\b", text)), None)
    node = next((n for n in model.graph.all_nodes() if n.op == op), None)
    where = f"from opset {reached} to {reached + step}" if reached != opset else f"from opset {now} to {opset}"
    hint = (
        f"opset {reached} can be reached: --opset {reached}"
        if reached not in (now, opset)
        else "`ronn check MODEL --opset N` lists what is lacking; exporting the model anew with that opset is surest"
    )
    rows = [f"  {m.op} {m.node!r}: {m.why}" for m in lacking[:_MAX_NAMED]]
    more = [f"  ... and {len(lacking) - _MAX_NAMED} more"] if len(lacking) > _MAX_NAMED else []
    return ModelError(
        f"{model.source}: onnx's converter cannot bring {op if op is not None else 'the model'} {where}: {text[:300]}",
        node=node,
        detail="\n".join([f"  what would have to change for opset {opset}:", *rows, *more]),
        hint=hint,
    )


def large(model: IRModel) -> int:
    """Bytes of a model's constants."""
    return sum(v.data.nbytes for v in _constants(model.graph) if v.data is not None)


def _constants(graph: Graph) -> list[Value]:
    found = list(graph.initializers.values())
    for sub in graph.inner_graphs():
        found += _constants(sub)
    return found
