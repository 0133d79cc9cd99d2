"""The quantised model: operators on bytes between one QuantizeLinear and one DequantizeLinear (QOperator)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.passes.edit import const, remove_dead
from ronn.records import dataclass, replace
from ronn_provider_npu.quantize.pointwise import Function
from ronn_provider_npu.quantize.rounding import rounded
from ronn_provider_npu.quantize.scheme import Params, Scheme, Weights, bias_of, params_of, weights_of
from ronn_provider_npu.quantize.steps import BYTES_TOO, Analysis, Step, mean_axes

Array = np.ndarray
MS = "com.microsoft"
_WINDOW = ("kernel_shape", "strides", "pads", "auto_pad", "ceil_mode", "count_include_pad")
_PLAIN = ("kernel_shape", "strides", "pads", "auto_pad", "dilations", "group")


@dataclass(frozen=True)
class Written:
    """A quantised model. bytes_of: the names of the bytes that stand for values, by the values' names."""

    ir: IRModel
    bytes_of: Mapping[str, str]


@dataclass(frozen=True)
class Recipe:
    """What numbers a model is quantised with. params: of each quantised value, by name. means: of what goes into
    layers, by channel, where the shift that rounding weights makes is to be taken back. moments: by the names of what
    layers make, where weights are rounded by what they multiply."""

    scheme: Scheme
    params: Mapping[str, Params]
    means: Mapping[str, Array] | None = None
    moments: Mapping[str, Array] | None = None


def layer_of(step: Step, recipe: Recipe) -> tuple[Weights, Array | None]:
    """Weights of a ``conv`` or ``gemm``, and its bias i32[out].

    With means, the bias takes back what the error of the weights makes of the average input: bias correction, Nagel et
    al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2, by measured means.
    """
    assert step.weights is not None
    x = recipe.params[step.inputs[0].name]
    bias = step.bias
    found = weights_of(step.weights, recipe.scheme, bias, x.scale)
    moment = None if recipe.moments is None else recipe.moments.get(step.outputs[0].name)
    if moment is not None:
        found = replace(found, codes=rounded(step.weights, found.scale, moment))
    if step.kind == "gemm" and step.inputs[0].tensor.rank != 2:
        return found, None  # QLinearMatMul has no bias
    if recipe.means is not None and step.inputs[0].name in recipe.means:
        shift = _shift(step, found.real() - step.weights, recipe.means[step.inputs[0].name])
        bias = (np.zeros(len(shift)) if bias is None else bias) - shift
    return found, None if bias is None else bias_of(bias, found, x.scale)


def _shift(step: Step, error: Array, means: Array) -> Array:
    """f64[out]: what an error of weights [out, in / groups, ...] adds on average."""
    per_input = error.reshape(*error.shape[:2], -1).sum(axis=2, dtype=np.float64)
    groups = len(means) // per_input.shape[1]
    of = np.repeat(np.asarray(means).reshape(groups, -1), len(error) // groups, axis=0)
    return (per_input * of).sum(axis=1)


def write(model: IRModel, analysis: Analysis, recipe: Recipe) -> Written:
    """A copy of the model, of whose graph ``analysis`` is, on bytes."""
    return _Writer(model, analysis, recipe).written()


class _Writer:
    def __init__(self, model: IRModel, analysis: Analysis, recipe: Recipe) -> None:
        self.model, self.analysis, self.recipe = model, analysis, recipe
        self.copies: dict[Value, Value] = {}
        self.graph: Graph = clone(analysis.graph, self.copies)
        self.version = model.opset_imports[""]
        self.bytes: dict[Value, Value] = {}  # by the copied value that they stand for
        self.floats: dict[Value, Value] = {}
        self.ends: dict[Params, tuple[Value, Value]] = {}
        self.constants: dict[tuple[Value, bool], tuple[Value, Params]] = {}
        self.anchor: Node | None = None

    def written(self) -> Written:
        originals = self.graph.nodes
        steps = {self.copies[s.nodes[-1].output].producer: s for s in self.analysis.steps.values()}
        for node in originals:
            self.anchor = node
            step = steps.get(node)
            if step is not None:
                for value, made in zip(step.outputs, self.emit(step), strict=True):
                    self.bytes[self.copies[value]] = made
            else:
                self.keep(node)
        for value in dict.fromkeys(self.graph.outputs):
            if value in self.bytes and self.stands(value):
                self.anchor = None
                real = self.as_float(value)
                self.graph.replace_uses(value, real)
                value.name, real.name = f"{value.name}.float", value.name
        remove_dead(reversed(originals), self.graph)
        for name, value in list(self.graph.initializers.items()):
            if not self.graph.is_used(value):
                del self.graph.initializers[name]
        imports = {**self.model.opset_imports}
        if any(n.domain == MS for n in self.graph):
            imports[MS] = 1
        names = {v.name: self.bytes[c].name for v, c in self.copies.items() if c in self.bytes}
        ir = replace(self.model, graph=self.graph, opset_imports=imports, overridable=())
        return Written(ir, names)

    def stands(self, value: Value) -> bool:
        """Whether the bytes of a value are made by a step, and not of the value."""
        maker = self.bytes[value].producer
        return maker is not None and maker.input(0) is not value

    # --- values

    def as_bytes(self, original: Value) -> tuple[Value, Params]:
        """The bytes of a value of the model, and their parameters."""
        params = self.recipe.params[original.name]
        value = self.copies.get(original, original)
        if value not in self.bytes:
            scale, zero = self.scale(params)
            self.bytes[value] = self.op("QuantizeLinear", [value, scale, zero], stem=f"{value.name}_quantized")
        return self.bytes[value], params

    def as_float(self, value: Value) -> Value:
        """What bytes stand for, as float32."""
        if value not in self.floats:
            original = next(o for o, c in self.copies.items() if c is value)
            scale, zero = self.scale(self.recipe.params[original.name])
            made = self.op("DequantizeLinear", [self.bytes[value], scale, zero], stem=f"{value.name}_real")
            made.type = value.type
            self.floats[value] = made
        return self.floats[value]

    def operand(self, original: Value, negated: bool = False) -> tuple[Value, Params]:
        """A value, or a constant with a range of its own."""
        data = const(original)
        if data is None:
            return self.as_bytes(original)
        key = (original, negated)
        if key not in self.constants:
            data = -data if negated else data
            params = params_of(float(data.min(initial=0)), float(data.max(initial=0)), self.recipe.scheme)
            self.constants[key] = (self.constant(params.quantise(data), f"{original.name}_quantized"), params)
        return self.constants[key]

    def scale(self, params: Params) -> tuple[Value, Value]:
        if params not in self.ends:
            number = len(self.ends)
            self.ends[params] = (
                self.constant(np.float32(params.scale), f"scale_{number}"),
                self.constant(np.array(params.zero, params.dtype), f"zero_point_{number}"),
            )
        return self.ends[params]

    def constant(self, data: Any, name: str) -> Value:
        return self.graph.constant(np.asarray(data), self.graph.unique_name(name))

    def op(
        self, op: str, inputs: Sequence[Value | None], attributes: Mapping[str, Any] | None = None, *,
        domain: str = "", stem: str, name: str = "",
    ) -> Value:  # fmt: skip
        made = Node(
            op, inputs, [Value(self.graph.fresh_name(stem))], attributes, domain=domain,
            version=1 if domain else self.version, name=name,
        )  # fmt: skip
        if self.anchor is None:
            self.graph.append(made)
        else:
            self.graph.insert_before(self.anchor, made)
        return made.output

    # --- nodes

    def keep(self, node: Node) -> None:
        """Has a node that stays take floats, or bytes where they do as well."""
        for place, value in enumerate(node.inputs):
            if value is not None and value in self.bytes and self.stands(value):
                as_they_are = node.op in BYTES_TOO and node.domain == ""
                node.set_input(place, self.bytes[value] if as_they_are else self.as_float(value))
        for inner in list(node.subgraphs()):
            for value in inner.captures():
                if value in self.bytes and self.stands(value):
                    self.graph.replace_uses(value, self.as_float(value))

    def emit(self, step: Step) -> list[Value]:
        if step.kind == "move":
            return self.move(step)
        made = getattr(self, f"_{step.kind}")(step, f"{step.outputs[0].name}_quantized")
        return [self.bounded(step, made)]

    def bounded(self, step: Step, made: Value) -> Value:
        """The bounds of a step as bytes, where the range of a byte does not end there by itself."""
        if step.bounds is None:
            return made
        params = self.recipe.params[step.outputs[0].name]
        info = np.iinfo(params.dtype)
        ends = [params.step(b) if np.isfinite(b) else e for b, e in zip(step.bounds, (info.min, info.max), strict=True)]
        if ends[0] <= info.min and ends[1] >= info.max:
            return made
        low, high = (self.constant(np.array(np.clip(e, info.min, info.max), params.dtype), "bound") for e in ends)
        return self.op("Clip", [made, low, high], stem=f"{step.outputs[0].name}_bounded")

    def ending(self, step: Step) -> tuple[Value, Value]:
        return self.scale(self.recipe.params[step.outputs[0].name])

    def taken(self, value: Value, negated: bool = False) -> list[Value]:
        """Bytes, scale and zero point of an operand."""
        q, params = self.operand(value, negated)
        return [q, *self.scale(params)]

    def _conv(self, step: Step, stem: str) -> Value:
        x = self.taken(step.inputs[0])
        weights, bias = layer_of(step, self.recipe)
        w = self.weights(step, weights, weights.codes)
        tail = [] if bias is None else [self.constant(bias, f"{step.name}.bias_quantized")]
        attributes = {k: v for k, v in step.node.attributes.items() if k in _PLAIN}
        return self.op("QLinearConv", [*x, *w, *self.ending(step), *tail], attributes, stem=stem, name=step.name)

    def weights(self, step: Step, weights: Weights, codes: Array) -> list[Value]:
        scale = weights.scale if len(weights.scale) > 1 else weights.scale.reshape(())
        zero = np.zeros(scale.shape, np.int8)
        named = ((codes, "quantized"), (scale, "scale"), (zero, "zero_point"))
        return [self.constant(np.ascontiguousarray(a), f"{step.name}.weight_{n}") for a, n in named]

    def _gemm(self, step: Step, stem: str) -> Value:
        x = self.taken(step.inputs[0])
        weights, bias = layer_of(step, self.recipe)
        if step.inputs[0].tensor.rank != 2:
            w = self.weights(step, weights, weights.codes.T)
            return self.op("QLinearMatMul", [*x, *w, *self.ending(step)], stem=stem, name=step.name)
        w = self.weights(step, weights, weights.codes)
        given = None if bias is None else self.constant(bias, f"{step.name}.bias_quantized")
        inputs = [*x, *w, given, *self.ending(step)]
        return self.op("QGemm", inputs, {"transB": 1}, domain=MS, stem=stem, name=step.name)

    def _matmul(self, step: Step, stem: str) -> Value:
        inputs = [v for x in step.inputs for v in self.taken(x)]
        return self.op("QLinearMatMul", [*inputs, *self.ending(step)], stem=stem, name=step.name)

    def _add(self, step: Step, stem: str) -> Value:
        a, b = step.inputs
        inputs = [*self.taken(a), *self.taken(b, step.node.op == "Sub")]
        op = "QLinearMul" if step.kind == "mul" else "QLinearAdd"
        return self.op(op, [*inputs, *self.ending(step)], domain=MS, stem=stem, name=step.name)

    _mul = _add

    def _concat(self, step: Step, stem: str) -> Value:
        inputs = [v for x in step.inputs for v in self.taken(x)]
        axis = {"axis": step.node.attributes["axis"]}
        return self.op("QLinearConcat", [*self.ending(step), *inputs], axis, domain=MS, stem=stem, name=step.name)

    def _average(self, step: Step, stem: str) -> Value:
        inputs = [*self.taken(step.inputs[0]), *self.ending(step)]
        attributes = {k: v for k, v in step.node.attributes.items() if k in _WINDOW}
        return self.op("QLinearAveragePool", inputs, attributes, domain=MS, stem=stem, name=step.name)

    def _global(self, step: Step, stem: str) -> Value:
        inputs = [*self.taken(step.inputs[0]), *self.ending(step)]
        axes = mean_axes(step.node) if step.node.op == "ReduceMean" else ()
        last = {"channels_last": int(bool(axes) and axes[0] == 1)}
        made = self.op("QLinearGlobalAveragePool", inputs, last, domain=MS, stem=stem, name=step.name)
        if axes and not step.node.attributes.get("keepdims", 1):
            made = self.op("Squeeze", [made, self.constant(np.array(axes, np.int64), "axes")], stem=stem)
        return made

    def _softmax(self, step: Step, stem: str) -> Value:
        inputs = [*self.taken(step.inputs[0]), *self.ending(step)]
        attributes = {"axis": step.node.attributes.get("axis", -1), "opset": self.version}
        return self.op("QLinearSoftmax", inputs, attributes, domain=MS, stem=stem, name=step.name)

    def _table(self, step: Step, stem: str) -> Value:
        """Gather from the bytes of all 256 results: those of negative bytes stand at the end, where they count from."""
        q, params = self.as_bytes(step.inputs[0])
        ending = self.recipe.params[step.outputs[0].name]
        results = Function(step.inputs[0], step.outputs[0], step.nodes)(params.every())
        table = ending.quantise(np.nan_to_num(results))
        if params.dtype == np.int8:
            table = np.roll(table, -128)
        index = self.op("Cast", [q], {"to": 6}, stem=f"{q.name}_index")
        return self.op("Gather", [self.constant(table, f"{step.name}.table"), index], {"axis": 0}, stem=stem,
                       name=step.name)  # fmt: skip

    def move(self, step: Step) -> list[Value]:
        q, params = self.as_bytes(step.inputs[0])
        node = step.node
        inputs = [q, *(None if v is None else self.copies.get(v, v) for v in node.inputs[1:])]
        if node.op == "Pad" and node.attributes.get("mode", "constant") == "constant":
            inputs += [None] * (3 - len(inputs))
            inputs[2] = self.scale(params)[1]
        outputs = [Value(self.graph.fresh_name(f"{v.name}_quantized")) for v in step.outputs]
        made = Node(node.op, inputs, outputs, node.attributes, version=node.version, name=node.name)
        assert self.anchor is not None
        self.graph.insert_before(self.anchor, made)
        return outputs
