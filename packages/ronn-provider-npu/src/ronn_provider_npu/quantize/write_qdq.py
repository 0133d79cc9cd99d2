"""The quantised model as float operators between QuantizeLinear and DequantizeLinear (QDQ)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.passes.edit import const
from ronn.records import replace
from ronn_provider_npu.quantize.scheme import Params, params_of
from ronn_provider_npu.quantize.steps import Analysis, Step
from ronn_provider_npu.quantize.write import Recipe, Written, layer_of

Array = np.ndarray


def write_qdq(model: IRModel, analysis: Analysis, recipe: Recipe) -> Written:
    """A copy of the model, of whose graph ``analysis`` is, with its values, weights and biases quantised."""
    return _Writer(model, analysis, recipe).written()


class _Writer:
    def __init__(self, model: IRModel, analysis: Analysis, recipe: Recipe) -> None:
        self.model, self.analysis, self.recipe = model, analysis, recipe
        self.copies: dict[Value, Value] = {}
        self.graph: Graph = clone(analysis.graph, self.copies)
        self.version = model.opset_imports[""]

    def written(self) -> Written:
        names: dict[str, str] = {}
        for step in self.analysis.steps.values():
            self.constants(step)
        for original in self.analysis.values.values():
            value = self.copies[original]
            quantised, real = self.pair(value, self.recipe.params[original.name])
            names[original.name] = quantised.name
            for node, place in list(value.uses):
                if node is not quantised.producer:
                    node.set_input(place, real)
            if self.graph.is_output(value):
                for place, output in enumerate(self.graph.outputs):
                    if output is value:
                        self.graph.outputs[place] = real
                value.name, real.name = f"{value.name}.float", value.name
        for name, value in list(self.graph.initializers.items()):
            if not self.graph.is_used(value):
                del self.graph.initializers[name]
        return Written(replace(self.model, graph=self.graph, overridable=()), names)

    def pair(self, value: Value, params: Params) -> tuple[Value, Value]:
        """QuantizeLinear and DequantizeLinear behind a value."""
        scale = self.constant(np.float32(params.scale), f"{value.name}_scale")
        zero = self.constant(np.array(params.zero, params.dtype), f"{value.name}_zero_point")
        q = Node("QuantizeLinear", [value, scale, zero], [self.fresh(f"{value.name}_quantized")], version=self.version)
        d = Node("DequantizeLinear", [q.output, scale, zero], [self.fresh(f"{value.name}_real")], version=self.version)
        d.output.type = value.type
        if value.producer is not None:
            self.graph.insert_after(value.producer, q)
        else:
            first = next(iter(self.graph), None)
            self.graph.append(q) if first is None else self.graph.insert_before(first, q)
        self.graph.insert_after(q, d)
        return q.output, d.output

    def constants(self, step: Step) -> None:
        """The constants of a step as integers behind DequantizeLinear."""
        node = self.copies[step.node.output].producer
        assert node is not None
        if step.kind in ("conv", "gemm"):
            self.weights(step, node)
        elif step.kind in ("add", "mul", "concat"):
            for place, value in enumerate(step.node.inputs):
                data = const(value)
                if data is not None and value is not None:
                    params = params_of(float(data.min(initial=0)), float(data.max(initial=0)), self.recipe.scheme)
                    zero = np.array(params.zero, params.dtype)
                    real = self.real(node, params.quantise(data), np.array(params.scale, np.float32), zero, value.name)
                    node.set_input(place, real)

    def weights(self, step: Step, node: Node) -> None:
        weights, bias = layer_of(step, self.recipe)
        transposed = node.op == "MatMul" or (node.op == "Gemm" and not node.attributes.get("transB", 0))
        codes, axis = (weights.codes.T, 1) if transposed else (weights.codes, 0)
        per_channel = len(weights.scale) > 1
        scale = weights.scale if per_channel else weights.scale.reshape(())
        zero = np.zeros(scale.shape, np.int8)
        more = {"axis": axis} if per_channel else {}
        node.set_input(1, self.real(node, np.ascontiguousarray(codes), scale, zero, f"{step.name}.weight", more))
        if node.op == "Gemm":
            node.attributes |= {"alpha": 1.0, "beta": 1.0}
        if bias is not None:
            x = self.recipe.params[step.inputs[0].name]
            steps = np.asarray(np.float32(x.scale) * scale, np.float32)
            more = {"axis": 0} if per_channel else {}
            added = next((self.copies[n.output].producer for n in step.nodes[1:] if n.op == "Add"), None)
            if node.op == "MatMul" and added is None:  # a bias that corrects, where there was none
                added = self.add_behind(node)
            user = node if added is None else added
            place = 2 if added is None else next((i for i, v in enumerate(added.inputs) if const(v) is not None), 1)
            user.set_input(place, self.real(user, bias, steps, None, f"{step.name}.bias", more))

    def add_behind(self, node: Node) -> Node:
        """An Add behind ``node``, in whose output's place its own comes; its second input is still missing."""
        old = node.output
        product = self.fresh(f"{old.name}_product")
        product.type = old.type
        made = Node("Add", [product, None], [old], version=self.version)
        node.outputs = (product,)
        product.producer, old.producer = node, made
        self.graph.insert_after(node, made)
        return made

    def real(
        self, user: Node, codes: Array, scale: Array, zero: Array | None, name: str,
        attributes: Mapping[str, int] | None = None,
    ) -> Value:  # fmt: skip
        inputs = [self.constant(codes, f"{name}_quantized"), self.constant(scale, f"{name}_scale")]
        if zero is not None:
            inputs.append(self.constant(zero, f"{name}_zero_point"))
        made = Node(
            "DequantizeLinear",
            inputs,
            [self.fresh(f"{name}_real")],
            attributes,
            version=self.version,
            name=f"{name}_real",
        )
        self.graph.insert_before(user, made)
        return made.output

    def constant(self, data: Array | np.generic, name: str) -> Value:
        return self.graph.constant(np.asarray(data), self.graph.unique_name(name))

    def fresh(self, stem: str) -> Value:
        return Value(self.graph.fresh_name(stem))
