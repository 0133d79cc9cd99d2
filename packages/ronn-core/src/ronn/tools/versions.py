"""Which versions a model needs, and what of it is missing in others: opsets, IR versions, onnxruntime releases."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources

from ronn.errors import OptionError
from ronn.frontend.check import fits
from ronn.ir.graph import Graph, IRModel, Node
from ronn.ir.types import DType, OptionalType, SequenceType, TensorType, Type
from ronn.ops import contrib
from ronn.ops.schema import OpSchema, find_schema
from ronn.records import dataclass

DOMAINS = ("", "ai.onnx.ml")
_FIRST_FULL_IR = 3  # the oldest that names opsets
_SMALL = {
    DType.BFLOAT16: 4, DType.FLOAT8E4M3FN: 9, DType.FLOAT8E4M3FNUZ: 9, DType.FLOAT8E5M2: 9, DType.FLOAT8E5M2FNUZ: 9,
    DType.INT4: 10, DType.UINT4: 10, DType.FLOAT4E2M1: 11, DType.FLOAT8E8M0: 12, DType.INT2: 13, DType.UINT2: 13,
    DType.FLOAT6E2M3: 14, DType.FLOAT6E3M2: 14,
}  # fmt: skip
"""The IR version that first had an element type."""


@dataclass(frozen=True, slots=True)
class Need:
    """A version that something needs, and what that is (a node, or a feature of the file)."""

    version: int
    why: str


@dataclass(frozen=True, slots=True)
class Needs:
    """The lowest versions that a model can be stamped with as it is: opset by domain, IR; and what it is stamped with.

    ``onnxruntime``: the lowest release that loads it as it is stamped, and the lowest that would load it restamped;
    None when none does. ``own`` are domains that are neither ONNX's nor onnxruntime's."""

    opsets: Mapping[str, Need]
    ir: Need
    stamped: Mapping[str, int]
    stamped_ir: int
    onnxruntime: str | None
    onnxruntime_restamped: str | None
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """A node (or a feature, then ``op`` is empty) that a version lacks, and why."""

    node: str
    op: str
    why: str
    hint: str = ""


@dataclass(frozen=True)
class Release:
    """What an onnxruntime release loads at most. ``source`` says how that is known."""

    name: str
    opset: int
    ml_opset: int
    ir: int
    source: str

    def loads(self, opsets: Mapping[str, int], ir: int) -> bool:
        return opsets.get("", 0) <= self.opset and opsets.get("ai.onnx.ml", 0) <= self.ml_opset and ir <= self.ir


@cache
def releases() -> tuple[Release, ...]:
    """The known releases of onnxruntime, oldest first."""
    table = json.loads(resources.files("ronn.tools").joinpath("onnxruntime.json").read_text(encoding="utf-8"))
    return tuple(Release(name, **row) for name, row in table["releases"].items())


def release(text: str) -> Release:
    """The release that ``onnxruntime==1.17``, ``onnxruntime==1.17.3`` or ``1.17`` means. OptionError for another."""
    found = re.fullmatch(r"(?:onnxruntime\s*(?:==|=|@|\s)\s*)?v?(\d+)\.(\d+)(?:\.\d+)*", text.strip())
    if found is None:
        raise OptionError(f"{text!r} is no release of onnxruntime", hint="onnxruntime==1.17, for example")
    name = f"{int(found[1])}.{int(found[2])}"
    known = {r.name: r for r in releases()}
    if name not in known:
        first, last = releases()[0].name, releases()[-1].name
        raise OptionError(
            f"nothing is known of onnxruntime {name}", hint=f"known: {first} to {last}; `ronn check --opset N` says "
            "what an opset lacks"
        )  # fmt: skip
    return known[name]


def _schema(domain: str, op: str, version: int) -> OpSchema | None:
    """The schema that ONNX gives an operator; onnxruntime has some in ONNX's domain before ONNX had them."""
    found = find_schema(domain, op, version)
    return None if found is not None and not domain and found is contrib.find_in_onnx_domain(op) else found


def _own_schema(node: Node) -> OpSchema | None:
    return _schema(node.domain, node.op, node.version)


# --- what a model needs


def needs(model: IRModel) -> Needs:
    """The lowest versions that hold each node of a model as it is, and which node needs them."""
    opsets: dict[str, Need] = {}
    own: set[str] = set()
    for node in _nodes(model):
        if node.domain not in DOMAINS:
            if node.domain not in ("com.microsoft", "ai.onnx.training") and not node.domain.startswith("ai.onnx"):
                own.add(node.domain)
            continue
        schema = _own_schema(node)
        since = node.version if schema is None else _since(node, schema)
        known = opsets.get(node.domain)
        if known is None or since > known.version:
            opsets[node.domain] = Need(since, f"{node.op_id} {node.label!r}")
    called = {k[0] for k in model.functions}
    ir = max(_ir_needs(model, opsets), key=lambda n: n.version)
    stamped = {d: v for d, v in model.opset_imports.items() if d in DOMAINS}
    least = {d: n.version for d, n in opsets.items()}
    stamped_ir = model.metadata.ir_version
    return Needs(
        opsets,
        ir,
        stamped,
        stamped_ir,
        _first(stamped, stamped_ir),
        _first(least, ir.version),
        tuple(sorted(own - called)),
    )


def _since(node: Node, schema: OpSchema) -> int:
    """The first version in which the node, as it is, means what it does now."""
    since = schema.since
    while since > 1:
        older = _schema(node.domain, node.op, since - 1)
        if older is None or not _holds(node, older, schema):
            return since
        since, schema = older.since, older
    return since


def _holds(node: Node, older: OpSchema, newer: OpSchema) -> bool:
    """Whether a node of ``newer`` means the same in the version before: it uses nothing that this one lacks."""
    if (newer.op, newer.since) in _OTHER_MEANING or misfit(node, older):
        return False
    used_in, used_out = len(node.inputs), len(node.outputs)
    formals = [(*v.inputs[:used_in], *v.outputs[:used_out]) for v in (older, newer)]
    names, later = ([(_RENAMED.get(f.name, f.name), f.variadic) for f in listed] for listed in formals)
    shared = {n: d for n, d in older.defaults.items() if n in newer.attributes}
    if names != later or any(newer.defaults.get(n) != d for n, d in shared.items()):
        return False
    if any(n not in newer.attributes for n in older.attributes if n not in _IDLE):
        return False
    return not (newer.since == _NEGATIVE_AXES and _uses_opset_11(node))


_RENAMED = {"input_mean": "mean", "input_var": "var"}
_IDLE = frozenset({"consumed_inputs"})
_NEGATIVE_AXES = 11
"""The opset in which axes may count from the back, and ``auto_pad`` of transposed convolutions changed sides."""
_OTHER_MEANING = frozenset({
    *((op, 13) for op in ("Softmax", "LogSoftmax", "Hardmax")), *((op, 8) for op in ("Sum", "Max", "Min", "Mean")),
    ("PRelu", 7), ("BatchNormalization", 9), ("Upsample", 9), ("Scan", 9), ("Resize", 13), ("Gather", 11),
})  # fmt: skip
"""Versions that mean something else than the one before, though their schemas look alike."""


def _uses_opset_11(node: Node) -> bool:
    axes = [node.attributes.get(n) for n in ("axis", "axes")]
    listed = [a for given in axes for a in (given if isinstance(given, list) else [given])]
    if any(isinstance(a, int) and a < 0 for a in listed):
        return True
    return node.op == "ConvTranspose" and node.attributes.get("auto_pad", "NOTSET") != "NOTSET"


def misfit(node: Node, schema: OpSchema) -> str:
    """What keeps a node from being one of ``schema``: an element type or attribute that it lacks; empty if nothing."""
    if schema.deprecated:
        return f"{schema.op} is deprecated there"
    for name in node.attributes:
        if name not in schema.attributes and name not in idle_attributes(node):
            return f"attribute {name!r} is not there before"
        if name in schema.attributes and not fits(node.attributes[name], schema.attributes[name]):
            return f"attribute {name!r} is {schema.attributes[name]} there"
    for name in schema.required:
        if name not in node.attributes:
            return f"attribute {name!r} must be given"
    if not schema.min_inputs <= len(node.inputs) <= schema.max_inputs:
        return f"it takes {schema.min_inputs} to {schema.max_inputs} inputs, the node has {len(node.inputs)}"
    if len(node.outputs) > len(schema.outputs) and not (schema.outputs and schema.outputs[-1].variadic):
        return f"it has {len(schema.outputs)} outputs, the node {len(node.outputs)}"
    for i, value in enumerate(node.inputs):
        formal = schema.formal_input(i)
        if value is None and formal is not None and not formal.optional and not formal.variadic:
            return f"input {i} ({formal.name}) must be given"
        if value is None or formal is None or value.dtype is None:
            continue
        allowed = schema.types.get(formal.type, (formal.type,))
        text = f"tensor({value.dtype.onnx_name})"
        if any(a.startswith("tensor(") for a in allowed) and text not in allowed:
            return f"input {i} ({formal.name}) of {value.dtype.onnx_name}"
    return ""


def idle_attributes(node: Node) -> list[str]:
    """Attributes that say what they would say if they were left out."""
    schema = _own_schema(node)
    if schema is None:
        return []
    idle = [n for n, v in node.attributes.items() if n in _IDLE or (n in schema.defaults and schema.defaults[n] == v)]
    axes = node.input(1)
    if "noop_with_empty_axes" in node.attributes and axes is not None and axes.data is not None and axes.data.size:
        idle.append("noop_with_empty_axes")
    return idle


def _ir_needs(model: IRModel, opsets: Mapping[str, Need]) -> Iterator[Need]:
    yield Need(_FIRST_FULL_IR, "opset imports")
    listed = len(model.overridable)
    if len(model.graph.initializers) > listed:
        yield Need(4, "constants that are no inputs")
    if model.functions:
        yield Need(8, "functions of its own")
    if any(overload for _, _, overload in model.functions):
        yield Need(10, "functions with overloads")
    for dtype, where in _dtypes(model):
        if dtype in _SMALL:
            yield Need(_SMALL[dtype], f"{dtype.onnx_name} ({where})")
    if any(isinstance(v.type, (SequenceType, OptionalType)) for v in (*model.graph.inputs, *model.graph.outputs)):
        optional = any(isinstance(v.type, OptionalType) for v in (*model.graph.inputs, *model.graph.outputs))
        yield Need(8 if optional else 4, "inputs or outputs that are no tensors")


def _dtypes(model: IRModel) -> Iterator[tuple[DType, str]]:
    for graph in (model.graph, *(f.body for f in model.functions.values())):
        yield from _graph_dtypes(graph)


def _graph_dtypes(graph: Graph) -> Iterator[tuple[DType, str]]:
    for value in graph.values():
        dtype = _dtype(value.type)
        if dtype is not None:
            yield dtype, f"%{value.name}"
    for sub in graph.inner_graphs():
        yield from _graph_dtypes(sub)


def _dtype(type: Type | None) -> DType | None:
    while isinstance(type, (SequenceType, OptionalType)):
        type = type.element
    return type.dtype if isinstance(type, TensorType) else None


def _nodes(model: IRModel) -> Iterator[Node]:
    for graph in (model.graph, *(f.body for f in model.functions.values())):
        for node in graph.all_nodes():
            if (node.domain, node.op, node.overload) not in model.functions:
                yield node


def _first(opsets: Mapping[str, int], ir: int) -> str | None:
    return next((r.name for r in releases() if r.loads(opsets, ir)), None)


# --- what a version lacks


def missing(model: IRModel, opset: int, ml_opset: int | None = None) -> list[Missing]:
    """The nodes that opset ``opset`` (and ``ml_opset`` of ai.onnx.ml; None: any) does not have as they are."""
    wanted = {"": opset} if ml_opset is None else {"": opset, "ai.onnx.ml": ml_opset}
    return [m for n in _nodes(model) if n.domain in wanted and (m := _missing(n, wanted[n.domain])) is not None]


def _missing(node: Node, version: int) -> Missing | None:
    now, there = _own_schema(node), _schema(node.domain, node.op, version)
    if now is not None and there is not None and _since(node, now) <= version and _fits_newer(node, now, there):
        return None
    if there is None:
        first = now.since if now is not None else node.version
        return Missing(
            node.label, node.op_id, f"opset {version} has no {node.op}: it came with {_introduced(node, first)}"
        )
    why = misfit(node, there)
    if not why:
        since = node.version if now is None else _since(node, now)
        why = f"{node.op} was changed with opset {max(since, there.since)}"
    return Missing(node.label, node.op_id, why, "`ronn convert --opset` rewrites it where it can")


def _introduced(node: Node, since: int) -> int:
    while since > 1:
        older = _schema(node.domain, node.op, since - 1)
        if older is None:
            return since
        since = older.since
    return since


def _fits_newer(node: Node, now: OpSchema, there: OpSchema) -> bool:
    """Whether a node of version ``now`` is the same in the later version ``there``."""
    newer = there
    while newer.since > now.since:
        before = _schema(node.domain, node.op, newer.since - 1)
        if before is None or not _holds(node, before, newer):
            return False
        newer = before
    return not misfit(node, there)


def missing_for(model: IRModel, wanted: Release) -> list[Missing]:
    """What keeps a release of onnxruntime from loading a model: its IR version, opsets, nodes that these lack."""
    found: list[Missing] = []
    meta = model.metadata
    least = needs(model)
    if meta.ir_version > wanted.ir:
        if least.ir.version <= wanted.ir:
            cure = f"nothing in it needs more than {least.ir.version}: `ronn convert --ir {wanted.ir}` restamps it"
        else:
            cure = f"{least.ir.why} needs {least.ir.version}"
        found.append(
            Missing("the file", "", f"IR version {meta.ir_version}; the release knows up to {wanted.ir}", cure)
        )
    for domain, newest in (("", wanted.opset), ("ai.onnx.ml", wanted.ml_opset)):
        stamped = model.opset_imports.get(domain, 0)
        if stamped > newest:
            need = least.opsets.get(domain)
            cure = (
                f"its nodes are in opset {newest} as they are: `ronn convert --opset {newest}` restamps it"
                if need is None or need.version <= newest
                else f"{need.why} needs {need.version}"
            )
            name = domain if domain else "ai.onnx"
            found.append(Missing("the file", "", f"opset {stamped} of {name}; the release knows up to {newest}", cure))
            found += _all_missing(model, domain, newest)
    found += [
        Missing(n.label, n.op_id, f"domain {n.domain!r} is none of onnxruntime's own", "it needs a custom op library")
        for n in _first_of_each(model, least.own)
    ]
    return found


def _all_missing(model: IRModel, domain: str, version: int) -> Iterable[Missing]:
    for node in _nodes(model):
        if node.domain == domain and (m := _missing(node, version)) is not None:
            yield m


def _first_of_each(model: IRModel, domains: Iterable[str]) -> Iterator[Node]:
    for domain in domains:
        yield next(n for n in _nodes(model) if n.domain == domain)
