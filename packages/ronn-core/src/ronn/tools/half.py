"""float32 models as float16 or bfloat16 ones: which values become narrow, and casts where narrow meets wide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import ml_dtypes
import numpy as np

from ronn.errors import OptionError, nearest
from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.ir.types import DType, TensorType
from ronn.ops.infer import forget_declared_shapes, infer_types
from ronn.ops.schema import schema_of
from ronn.passes.lift_constants import lift_constants
from ronn.passes.manager import PassContext
from ronn.records import dataclass, field, replace

NARROW = {"float16": DType.FLOAT16, "bfloat16": DType.BFLOAT16}
WIDE = DType.FLOAT32
KEPT = frozenset({"Bernoulli", "CumSum", "DFT", "MelWeightMatrix", "Multinomial", "NonMaxSuppression", "RandomNormal",
                  "RandomUniform", "Range", "RoiAlign", "STFT"})  # fmt: skip
"""Operators that stay in float32 unless asked otherwise: they sum far, count, or decide."""
_MASKING = frozenset({"Add", "Clip", "Concat", "Expand", "Identity", "Max", "Min", "Mul", "Pad", "Reshape", "Sub",
                      "Tile", "Unsqueeze", "Where"})  # fmt: skip
"""Operators for which a constant that is too large is a mask: the largest value will do. Others then stay wide."""
_SUMMING = frozenset({"MatMulInteger", "ConvInteger"})
_CONTROL = frozenset({"If", "Loop", "Scan"})
_DTYPE_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype", "RandomNormalLike": "dtype", "RandomUniformLike": "dtype"}
_TENSORS = {"Constant": "value", "ConstantOfShape": "value"}
_LEAST_STORED = 64  # elements below which storing a constant in two bytes an element gains nothing


@dataclass
class Report:
    """What became of a model. narrow, wide: operators whose floats were narrowed, or stay, with the reason; counts of
    nodes. clamped: constants with finite elements beyond the largest of the type, and how many; flushed: those with
    elements that became 0. constants: how many were narrowed, and their bytes before and after. casts: those put in."""

    to: str
    narrow: Counter[str] = field(default_factory=Counter)
    wide: Counter[tuple[str, str]] = field(default_factory=Counter)
    clamped: dict[str, int] = field(default_factory=dict)
    flushed: dict[str, int] = field(default_factory=dict)
    constants: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    casts: int = 0


def narrow_model(
    model: IRModel, to: str, *, io: bool = False, keep: Collection[str] = (), only_storage: bool = False
) -> tuple[IRModel, Report]:
    """The model with its float32 values in ``to`` (``float16`` or ``bfloat16``), and what was done.

    io: inputs and outputs of the model change too. keep: operators, or names of nodes, that stay in float32 besides
    those of ``KEPT``; ``"-TopK"`` takes one out of the list. only_storage: constants are stored in ``to``, and widened
    again before they are used: everything is computed in float32.

    Finite constants beyond the largest value of the type become that value where they are masks (of -3e38, usually);
    other nodes that take such constants stay wide. Operators that
    have no narrow form in the model's opset stay wide. OptionError for an unknown type, operator or node.
    """
    if to not in NARROW:
        near = nearest(to, list(NARROW))
        raise OptionError(
            f"{to!r} is no narrow type", hint=f"did you mean {near!r}?" if near else f"one of {', '.join(NARROW)}"
        )
    graph = clone(model.graph)
    context = PassContext()
    context.names.scan(graph)
    lift_constants(graph, context)
    work = _Narrowing(graph, NARROW[to], _kept(model, keep), Report(to))
    if only_storage:
        work.store(graph)
    else:
        forget_declared_shapes(graph)
        infer_types(graph)
        work.sums = _integer_sums(graph)
        work.graph(graph, io, io)
    work.tidy()
    infer_types(graph)
    for value, old in zip(graph.outputs, model.graph.outputs, strict=True):
        if isinstance(old.type, TensorType) and isinstance(value.type, TensorType):
            value.type = TensorType(value.type.dtype, old.type.shape)
    meta = replace(model.metadata, ir_version=max(model.metadata.ir_version, 4))
    return replace(model, graph=graph, metadata=meta, overridable=()), work.report


def _kept(model: IRModel, keep: Collection[str]) -> frozenset[str]:
    ops = {n.op for n in model.graph.all_nodes()}
    names = {n.label for n in model.graph.all_nodes()}
    kept = set(KEPT)
    for word in keep:
        plain = word.removeprefix("-")
        if plain not in ops and plain not in names and plain not in KEPT:
            near = nearest(plain, sorted(ops | names))
            raise OptionError(
                f"the model has no operator or node {plain!r} to keep in float32",
                hint=f"did you mean {near!r}?" if near else f"its operators: {', '.join(sorted(ops))}",
            )
        if word.startswith("-"):
            kept.discard(plain)
        else:
            kept.add(plain)
    return frozenset(kept)


def _integer_sums(graph: Graph) -> set[Node]:
    """Casts of 32-bit sums that integer products give, and the multiplications that scale them: those sums are larger
    than float16 can hold."""
    found: set[Node] = set()
    for inner in _graphs(graph):
        if not any(n.op in _SUMMING for n in inner):
            continue
        casts = [n for n in inner if n.op == "Cast" and (v := n.input(0)) is not None and v.dtype is DType.INT32]
        for node in casts:
            found.add(node)
            found.update(n for n in node.output.consumers if n.op in ("Mul", "Div"))
    return found


class _Narrowing:
    """One conversion. ``is_narrow`` holds the values that are made narrow."""

    def __init__(self, top: Graph, to: DType, kept: frozenset[str], report: Report) -> None:
        self.top, self.to, self.kept, self.report = top, to, kept, report
        self.version = max((n.version for n in top.all_nodes() if n.domain == ""), default=13)
        self.is_narrow: set[Value] = set()
        self.sums: set[Node] = set()
        self.largest = float(ml_dtypes.finfo(to.numpy).max)
        self._beyond: dict[Value, bool] = {}
        self._casts: dict[tuple[Value, DType, Graph], Value] = {}
        self._constants: dict[Value, Value] = {}

    # --- graphs

    def graph(self, graph: Graph, inputs: bool, outputs: bool) -> None:
        """Narrows a graph; ``inputs`` and ``outputs``: whether its own change too."""
        if inputs:
            for value in graph.inputs:
                if value.dtype is WIDE:
                    self._narrow(value)
        for node in graph.nodes:
            self._node(graph, node)
        for i, (value, name) in enumerate(zip(list(graph.outputs), list(graph.output_names), strict=True)):
            wanted = outputs and (value.dtype is WIDE or value in self.is_narrow)
            if value.is_const and value.dtype is WIDE and wanted:
                graph.outputs[i] = self._constant(value)
            elif (value in self.is_narrow) != wanted and (value in self.is_narrow or value.dtype is WIDE):
                made = self._cast(graph, value, self.to if wanted else WIDE, None)
                if value.name == name:
                    value.name, made.name = made.name, value.name
                graph.outputs[i] = made

    def _narrow(self, value: Value) -> None:
        value.type = TensorType(self.to, value.tensor.shape)
        self.is_narrow.add(value)

    # --- nodes

    def _node(self, graph: Graph, node: Node) -> None:
        floats = [
            v for v in (*node.inputs, *node.outputs) if v is not None and (v.dtype is WIDE or v in self.is_narrow)
        ]
        if node.op in _CONTROL and node.domain == "" and node.op not in self.kept:
            takes, gives, why = [True] * len(node.inputs), [True] * len(node.outputs), ""
        else:
            takes, gives, why = self._sides(node)
        for sub in node.subgraphs():
            self.graph(sub, not why, not why)
        for i, value in enumerate(node.inputs):
            if value is None:
                continue
            if takes[i] and value.dtype is WIDE and value not in self.is_narrow:
                made = self._constant(value) if value.is_const else self._cast(graph, value, self.to, node)
                node.set_input(i, made)
            elif not takes[i] and value in self.is_narrow:
                node.set_input(i, self._cast(graph, value, WIDE, node))
        for value, narrow in zip(node.outputs, gives, strict=True):
            if narrow and value.dtype is WIDE:
                self._narrow(value)
        if any(v in self.is_narrow for v in node.outputs):
            self._attributes(node)
        if floats:
            if any(takes[i] for i, v in enumerate(node.inputs) if v is not None) or any(gives):
                self.report.narrow[node.op_id] += 1
            else:
                self.report.wide[node.op_id, why] += 1

    def _sides(self, node: Node) -> tuple[list[bool], list[bool], str]:
        """Which inputs and outputs may be narrow, and why none may."""
        none = [False] * len(node.inputs), [False] * len(node.outputs)
        if node.op in self.kept or node.label in self.kept:
            return *none, "kept in float32"
        if node in self.sums:
            return *none, "sums of integers, before they are scaled"
        if node.op not in _MASKING and any(v is not None and self._exceeds(v) for v in node.inputs):
            return *none, f"a constant is beyond what {self.to.numpy_name} holds"
        schema = schema_of(node)
        if schema is None:
            return *none, "nobody knows what types it takes"
        values = [v for v in (*node.inputs, *node.outputs) if v is not None and v.name]
        if any(not isinstance(v.type, TensorType) for v in values):
            return *none, "it works on sequences or optionals"
        if any(v.dtype is WIDE for v in node.outputs) and not self._follows(node):
            return *none, f"its attributes say that it gives {WIDE.numpy_name}"
        text = f"tensor({self.to.onnx_name})"

        def may(type: str) -> bool:
            return text in schema.types.get(type, ())

        takes = [(f := schema.formal_input(i)) is not None and may(f.type) for i in range(len(node.inputs))]
        gives = [(f := schema.formal_output(i)) is not None and may(f.type) for i in range(len(node.outputs))]
        takes = [t and v is not None and (v.dtype is WIDE or v in self.is_narrow) for t, v in zip(takes, node.inputs)]
        gives = [g and v.dtype is WIDE for g, v in zip(gives, node.outputs)]
        return (
            takes,
            gives,
            "" if any(takes) or any(gives) else f"opset {node.version} has no {self.to.numpy_name} form",
        )

    def _exceeds(self, value: Value) -> bool:
        """Whether a constant has finite elements that the type cannot hold."""
        if value.data is None or value.dtype is not WIDE:
            return False
        if value not in self._beyond:
            magnitude = np.abs(value.data[np.isfinite(value.data)])
            self._beyond[value] = bool(magnitude.size) and float(magnitude.max()) > self.largest
        return self._beyond[value]

    def _follows(self, node: Node) -> bool:
        """Whether the type of what a node gives can be changed: it hangs on inputs, or on an attribute known here."""
        told = {"dtype", "output_dtype", "output_datatype", "to", "stash_type"} & node.attributes.keys()
        return not told - {"stash_type"} or node.op in _DTYPE_ATTRIBUTES

    def _attributes(self, node: Node) -> None:
        named = _DTYPE_ATTRIBUTES.get(node.op)
        if named is not None and named in node.attributes:
            node.attributes[named] = self.to.code
        tensor = _TENSORS.get(node.op)
        if tensor is not None:
            given = node.attributes.pop("value_float", node.attributes.pop("value_floats", node.attributes.get(tensor)))
            data = np.zeros(1, np.float32) if given is None else np.asarray(given, np.float32)
            node.attributes[tensor] = self._rounded(data, node.outputs[0].name)

    # --- values

    def _cast(self, graph: Graph, value: Value, to: DType, before: Node | None) -> Value:
        """``value`` as ``to``, made once a graph, behind what makes it."""
        known = self._casts.get((value, to, graph))
        if known is not None:
            return known
        made = Value(graph.fresh_name(f"{value.name}.{to.short}"), TensorType(to, value.tensor.shape))
        node = Node("Cast", [value], [made], {"to": to.code}, version=self.version)
        maker = value.producer
        first = next(iter(graph), None)
        if maker is not None and maker.graph is graph:
            graph.insert_after(maker, node)
        elif first is not None:
            graph.insert_before(first, node)
        else:
            graph.append(node)
        self.report.casts += 1
        self._casts[value, to, graph] = made
        if to is self.to:
            self.is_narrow.add(made)
        return made

    def _constant(self, value: Value) -> Value:
        """The narrow form of a constant, which stands where that one does."""
        known = self._constants.get(value)
        if known is None:
            assert value.data is not None
            home = _home(self.top, value)
            data = self._rounded(value.data, value.name)
            self._count(value.data, data)
            known = self._constants[value] = home.constant(data, value.name + f".{self.to.short}")
            self.is_narrow.add(known)
        return known

    def _count(self, before: np.ndarray, after: np.ndarray) -> None:
        self.report.constants += 1
        self.report.bytes_before += before.nbytes
        self.report.bytes_after += after.nbytes

    def tidy(self) -> None:
        """Drops wide constants that nobody uses now."""
        for graph in _graphs(self.top):
            for name, value in list(graph.initializers.items()):
                if value in self._constants and not graph.is_used(value):
                    del graph.initializers[name]

    def _rounded(self, data: np.ndarray, name: str) -> np.ndarray:
        beyond = np.isfinite(data) & (np.abs(data) > self.largest)
        if beyond.any():
            self.report.clamped[name] = int(beyond.sum())
            data = np.where(beyond, np.copysign(np.float32(self.largest), data), data)
        with np.errstate(over="ignore"):
            made = data.astype(self.to.numpy)
        lost = int(np.count_nonzero((data != 0) & (made == 0)))
        if lost:
            self.report.flushed[name] = lost
        return made

    def store(self, graph: Graph) -> None:
        """Stores large constants narrow, and widens them where they are used."""
        for inner in _graphs(graph):
            for value in list(inner.initializers.values()):
                if value.data is not None and value.dtype is WIDE and value.data.size >= _LEAST_STORED:
                    self._widened(inner, value, self._constant(value))

    def _widened(self, graph: Graph, value: Value, narrow: Value) -> None:
        """Has every user of ``value`` take ``narrow``, widened again."""
        users = list(value.uses)
        narrow.type = TensorType(self.to, narrow.tensor.shape)
        wide = self._cast(graph, narrow, WIDE, None)
        for node, index in users:
            node.set_input(index, wide)
        graph.outputs = [wide if o is value else o for o in graph.outputs]
        self.report.narrow["constants"] += 1


def _home(top: Graph, value: Value) -> Graph:
    return next(g for g in _graphs(top) if g.initializers.get(value.name) is value)


def _graphs(graph: Graph) -> Iterator[Graph]:
    yield graph
    for sub in graph.inner_graphs():
        yield from _graphs(sub)
