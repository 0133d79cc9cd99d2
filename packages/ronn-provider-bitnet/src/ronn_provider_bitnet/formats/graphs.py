"""Ternary weights as ordinary ONNX: integers behind DequantizeLinear, BitNet's quantiser of activations written out.

    q(x) = clip(round(x * s), -128, 127) / s, s = 127 / max(max(|x|, last axis), 1e-5)  (b1.58: Ma et al., 2024)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ronn.errors import ModelError, OptionError
from ronn_provider_bitnet.formats.ternary import Ternary
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.trits import pack_trits

Array = np.ndarray
Form = Literal["int2", "trits"]
"""``int2``: 2 bits a weight, standard ONNX; ``trits``: 1.6, for the provider ``bitnet`` alone."""
OPSET, IR = 25, 13  # the first with INT2
LEAST = 1e-5
_PRODUCTS = ("MatMul", "Gemm")


def to_onnx(tensors: Ternary | Mapping[str, Ternary] | Iterable[Ternary], *, form: Form = "int2") -> ModelProto:
    """A model of linear layers side by side: each has an input ``NAME.x`` f32[rows, K] (``x`` where there is one layer)
    and an output ``NAME.y`` f32[rows, N] (``y``). Raises OptionError for an unknown form."""
    layers = _listed(tensors)
    if not layers:
        raise ModelError("no ternary tensors to write", hint="read some with ronn_provider_bitnet.formats.read")
    graph = GraphProto(name="layers")
    writer = _Writer(graph, form)
    for t in layers:
        n, k = t.shape
        x, y = ("x", "y") if len(layers) == 1 else (f"{t.name}.x", f"{t.name}.y")
        graph.input.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, ["rows", k]))
        graph.output.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, ["rows", n]))
        source = writer.quantised(x) if t.activations else x
        product = y if t.bias is None else f"{t.name}.product"
        weights = writer.weights(t)
        graph.node.append(helper.make_node("MatMul", [source, weights], [product], name=t.name))
        if t.bias is not None:
            bias = writer.constant(f"{t.name}.bias", t.bias)
            graph.node.append(helper.make_node("Add", [product, bias], [y], name=f"{t.name}.add"))
    model = helper.make_model(
        graph, opset_imports=_opsets(form), ir_version=IR, producer_name="ronn-provider-bitnet"
    )  # fmt: skip
    onnx.checker.check_model(model)
    return model


def put_weights(
    model: ModelProto | str | Path, tensors: Mapping[str, Ternary], *, names: Mapping[str, str] | None = None,
    form: Form = "int2", partial: bool = False,
) -> ModelProto:  # fmt: skip
    """A copy of ``model`` whose MatMuls and Gemms have the packed weights of the layers of the same name.

    A layer is the product whose weight is the initializer ``NAME.weight`` (behind a Transpose, where there is one) or
    whose node is called ``/a/b/MatMul``, as exporters name those of a module ``a.b``. names: layers by the names of
    their nodes, for others. Where a layer rounds its activations and the graph does not, the quantiser is put in front.
    partial: leaves tensors without a product in the graph out; else they raise ModelError, as does a weight of another
    shape. Models below opset 25 are converted by ``onnx.version_converter``. Biases stay those of the graph.
    """
    given = onnx.load(str(model)) if isinstance(model, (str, Path)) else model
    made = _converted(given)
    graph = made.graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    turned = {
        n.output[0]: n.input[0] for n in graph.node
        if n.op_type == "Transpose" and n.input[0] in shapes and len(shapes[n.input[0]]) == 2
    }  # fmt: skip
    added = GraphProto()
    taken = {v for n in graph.node for v in n.output} | set(shapes) | {i.name for i in graph.input}
    writer = _Writer(added, form, taken)
    quantised = {n.output[0] for n in graph.node if n.op_type in ("Div", "Mul")} & _rounded(graph)
    nodes, done = [], set()
    for node in graph.node:
        layer = _layer(node, shapes, turned, tensors, {} if names is None else names)
        if layer is not None:
            t = tensors[layer]
            weight = turned.get(node.input[1], node.input[1])
            in_rows = node.op_type == "Gemm" and _attribute(node, "transB") == 1
            shape = shapes[weight] if weight == node.input[1] else shapes[weight][::-1]
            if shape != (t.shape if in_rows else t.shape[::-1]):
                raise ModelError(
                    f"{node.name}: its weights are {shape}, those of {layer} are {t.shape[0]} x {t.shape[1]} (N x K)",
                    hint="this checkpoint is of another model",
                )
            if node.op_type == "Gemm" and _attribute(node, "transA") == 1 and t.activations:
                raise ModelError(f"{node.name}: its inputs are transposed: rows cannot be rounded in front of it")
            if t.activations and node.input[0] not in quantised:
                node.input[0] = writer.quantised(node.input[0])
            node.input[1] = writer.weights(t, in_rows=in_rows)
            nodes += added.node
            del added.node[:]
            done.add(layer)
        nodes.append(node)
    missing = [] if partial else sorted(set(tensors) - done)
    if missing or not done:
        raise ModelError(
            f"no MatMul or Gemm for {len(missing) or 'any'} of {len(tensors)} layers: {', '.join(missing[:5])}",
            hint="say which with names={node: layer}, or leave them out with partial=True",
        )
    copied = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copied)
    _drop_unused(graph)
    graph.initializer.extend(added.initializer)
    if form == "trits":
        made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return made


class _Writer:
    """Appends constants and nodes to a graph: each quantiser and each weight once."""

    def __init__(self, graph: GraphProto, form: Form, taken: set[str] | None = None) -> None:
        if form not in get_args(Form):
            raise OptionError(f"{form!r} is no form of ternary weights", hint=f"known are {', '.join(get_args(Form))}")
        self._graph, self._form = graph, form
        self._taken = set() if taken is None else taken
        self._sources: dict[str, str] = {}
        self._weights: dict[tuple[str, bool], str] = {}
        self._constants: dict[str, str] = {}

    def constant(self, name: str, data: Array) -> str:
        name = self._fresh(name)
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(data), name))
        return name

    def weights(self, t: Ternary, *, in_rows: bool = False) -> str:
        """The value of f32 weights [K, N], or [N, K] ``in_rows``."""
        known = self._weights.get((t.name, in_rows))
        if known is not None:
            return known
        whole = t.codes if in_rows else np.ascontiguousarray(t.codes.T)
        codes = self._fresh(f"{t.name}.codes")
        if self._form == "trits":
            packed = self.constant(f"{t.name}.trits", pack_trits(whole))
            self._graph.node.append(
                helper.make_node("Trits", [packed], [codes], f"{t.name}.Trits", domain=DOMAIN, shape=list(whole.shape))
            )
        else:
            self._graph.initializer.append(_int2(codes, whole))
        scale, attributes = self._scale(t, in_rows)
        out = self._fresh(f"{t.name}.weight")
        self._graph.node.append(
            helper.make_node("DequantizeLinear", [codes, scale], [out], f"{t.name}.DequantizeLinear", **attributes)
        )
        self._weights[t.name, in_rows] = out
        return out

    def _scale(self, t: Ternary, in_rows: bool) -> tuple[str, dict[str, int]]:
        """The value of the scales, kept as float16 in the smallest form where that loses nothing, and the attributes
        of DequantizeLinear."""
        attributes: dict[str, int] = {}
        scale = t.scale
        if scale.shape == (1, 1):
            scale = scale.reshape(())
        elif not t.group or scale.shape[1] == 1:
            scale, attributes = scale.reshape(-1), {"axis": 0 if in_rows else 1}
        else:
            attributes = {"axis": 1 if in_rows else 0, "block_size": t.group}
            scale = scale if in_rows else scale.T
        with np.errstate(over="ignore"):
            half = scale.astype(np.float16)
        if self._form != "trits" or scale.size == 1 or not (half.astype(np.float32) == scale).all():
            return self.constant(f"{t.name}.scale", scale), attributes
        wide = self._fresh(f"{t.name}.scale")
        stored = self.constant(f"{t.name}.scale16", half)
        self._graph.node.append(
            helper.make_node("Cast", [stored], [wide], f"{t.name}.Cast", to=TensorProto.FLOAT)
        )  # fmt: skip
        return wide, attributes

    def quantised(self, x: str) -> str:
        """``x`` rounded to eight bits, each row by its largest absolute value."""
        if x in self._sources:
            return self._sources[x]
        top, least, low = (self._shared(n, v) for n, v in (("127", 127.0), ("least", LEAST), ("-128", -128.0)))
        axis = self._shared("axis", -1)
        last = x
        step = ""
        for op, stem, inputs in (
            ("Abs", "absolute", ["last"]), ("ReduceMax", "peak", ["last", axis]), ("Clip", "limited", ["last", least]),
            ("Div", "s", [top, "last"]), ("Mul", "scaled", [x, "last"]), ("Round", "rounded", ["last"]),
            ("Clip", "clipped", ["last", low, top]), ("Div", "quantised", ["last", "s"]),
        ):  # fmt: skip
            out = self._fresh(f"{x}.{stem}")
            given = [last if i == "last" else step if i == "s" else i for i in inputs]
            self._graph.node.append(helper.make_node(op, given, [out], out))
            step = out if stem == "s" else step
            last = out
        self._sources[x] = last
        return last

    def _shared(self, name: str, value: float) -> str:
        if name not in self._constants:
            data = np.array([-1], np.int64) if name == "axis" else np.array(value, np.float32)
            self._constants[name] = self.constant(f"bitnet.{name}", data)
        return self._constants[name]

    def _fresh(self, name: str) -> str:
        made, count = name, 1
        while made in self._taken:
            made, count = f"{name}_{count}", count + 1
        self._taken.add(made)
        return made


def _listed(tensors: Ternary | Mapping[str, Ternary] | Iterable[Ternary]) -> list[Ternary]:
    if isinstance(tensors, Ternary):
        return [tensors]
    return list(tensors.values() if isinstance(tensors, Mapping) else tensors)


def _int2(name: str, codes: Array) -> TensorProto:
    """Codes 0, 1 and 2 as INT2 -1, 0 and 1: four in a byte, the first in the lowest bits."""
    flat = np.zeros(-(-codes.size // 4) * 4, np.uint8)
    flat[: codes.size] = (codes.reshape(-1) - np.uint8(1)) & np.uint8(3)
    parts = flat.reshape(-1, 4)
    raw = parts[:, 0] | parts[:, 1] << 2 | parts[:, 2] << 4 | parts[:, 3] << 6
    return TensorProto(name=name, data_type=TensorProto.INT2, dims=codes.shape, raw_data=raw.tobytes())


def _opsets(form: Form) -> list[onnx.OperatorSetIdProto]:
    own = [helper.make_opsetid(DOMAIN, 1)] if form == "trits" else []
    return [helper.make_opsetid("", OPSET), *own]


def _converted(model: ModelProto) -> ModelProto:
    """A copy of a model at the first opset with INT2, or a later one."""
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    made = ModelProto()
    made.CopyFrom(model)
    if version < OPSET:
        try:
            made = onnx.version_converter.convert_version(made, OPSET)
        except Exception as e:
            raise ModelError(
                f"the model is of opset {version} and cannot be brought to {OPSET}, the first with INT2: {e}",
                hint=f"export it with opset {OPSET}",
            ) from e
    made.ir_version = max(made.ir_version, IR)
    return made


def _layer(
    node: NodeProto, shapes: Mapping[str, tuple[int, ...]], turned: Mapping[str, str], tensors: Mapping[str, Ternary],
    names: Mapping[str, str],
) -> str | None:  # fmt: skip
    """The layer whose weights a node's second input is, if it is one."""
    if node.op_type not in _PRODUCTS or node.domain not in ("", "ai.onnx"):
        return None
    weight = turned.get(node.input[1], node.input[1])
    if weight not in shapes or len(shapes[weight]) != 2:
        return None
    if node.name in names:
        if names[node.name] not in tensors:
            raise ModelError(f"{node.name}: there is no layer {names[node.name]!r} in the checkpoint")
        return names[node.name]
    by_node = node.name.strip("/").replace("/", ".")
    for op in _PRODUCTS:
        by_node = by_node.removesuffix(f".{op}")
    return next((n for n in (weight.removesuffix(".weight"), by_node) if n in tensors), None)


def _attribute(node: NodeProto, name: str) -> int:
    return next((a.i for a in node.attribute if a.name == name), 0)


def _rounded(graph: GraphProto) -> set[str]:
    """Values that come of Round, Clip and one more operation: those of a quantiser."""
    makers = {o: n for n in graph.node for o in n.output}

    def is_made(name: str, *ops: str) -> bool:
        node = makers.get(name)
        return not ops or (node is not None and node.op_type == ops[0] and is_made(node.input[0], *ops[1:]))

    return {o for n in graph.node for o in n.output if n.input and is_made(n.input[0], "Clip", "Round")}


def _drop_unused(graph: GraphProto) -> None:
    """Removes Transposes and initializers that nothing reads any more."""
    kept = {o.name for o in graph.output}
    inner = {i for n in graph.node for a in n.attribute for i in _inner_inputs(a)}
    while True:
        read = kept | inner | {i for n in graph.node for i in n.input}
        dead = [n for n in graph.node if n.op_type == "Transpose" and n.output[0] not in read]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)


def _inner_inputs(attribute: AttributeProto) -> Iterable[str]:
    for g in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
        for node in g.node:
            yield from node.input
            for a in node.attribute:
                yield from _inner_inputs(a)
        yield from (o.name for o in g.output)
