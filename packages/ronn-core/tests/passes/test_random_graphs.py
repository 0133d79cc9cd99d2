"""Random graphs of movements, arithmetic, products and normalisations come out of the whole pipeline the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.ops.infer import infer_node
from ronn.passes.pipelines import pipeline

OPSET = 18
TAKES = "Gelu Swish HardSwish LayerNormalization RMSNormalization Attention FusedConv FusedGemm FusedMatMul"


class Grower:
    """Grows a graph node by node; every value has a known shape."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("g")
        self.values = [self.graph.add_input(n, TensorType(DType.FLOAT32, (2, 3, 4))) for n in ("x", "y")]

    def pick(self) -> Value:
        # Late values more often than early ones, so that chains form.
        back = min(int(self.rng.geometric(0.4)), len(self.values))
        return self.values[-back]

    def const(self, data: Any) -> Value:
        return self.graph.constant(np.asarray(data))

    def put(self, op: str, *inputs: Value, **attributes: Any) -> Value:
        node = Node(op, inputs, [Value(f"v{len(self.graph)}")], attributes, version=OPSET)
        self.graph.append(node)
        infer_node(node)
        assert node.output.tensor.is_static, node
        self.values.append(node.output)
        return node.output

    def shape(self, value: Value) -> tuple[int, ...]:
        return value.tensor.static_shape

    # --- steps

    def unary(self) -> None:
        self.put(str(self.rng.choice(["Neg", "Relu", "Sigmoid", "Tanh", "Identity", "Abs", "Erf"])), self.pick())

    def scalar(self) -> None:
        number = np.float32(self.rng.choice([0.0, -0.0, 0.5, 1.0, 2.0, 3.0]))
        rank = int(self.rng.integers(0, 5))
        op = str(self.rng.choice(["Add", "Mul", "Sub"]))
        self.put(op, self.pick(), self.const(np.full((1,) * rank, number)))

    def divide(self) -> None:
        self.put("Div", self.pick(), self.const(np.float32(self.rng.choice([1.0, 2.0, -4.0, 3.0]))))

    def square(self) -> None:
        self.put("Pow", self.put("Tanh", self.pick()), self.const(np.float32(self.rng.choice([1.0, 2.0]))))

    def binary(self) -> None:
        a, b = self.pick(), self.pick()
        try:
            np.broadcast_shapes(self.shape(a), self.shape(b))
        except ValueError:
            b = a
        self.put(str(self.rng.choice(["Add", "Mul", "Sub", "Max"])), a, b)

    def transpose(self) -> None:
        value = self.pick()
        self.put("Transpose", value, perm=[int(p) for p in self.rng.permutation(len(self.shape(value)))])

    def reshape(self) -> None:
        value = self.pick()
        size = int(np.prod(self.shape(value)))
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        first = int(self.rng.choice(divisors))
        second = int(self.rng.choice([d for d in divisors if (size // first) % d == 0]))
        target = [[size], [first, -1], [first, second, -1]][int(self.rng.integers(0, 3))]
        self.put("Reshape", value, self.const(np.array(target)))

    def unsqueeze(self) -> None:
        value = self.pick()
        axis = self.const(np.array([int(self.rng.integers(0, len(self.shape(value)) + 1))]))
        wider = self.put("Unsqueeze", value, axis)
        if self.rng.random() < 0.5:
            self.put("Squeeze", wider, axis)

    def through_shape(self) -> None:
        value = self.pick()
        self.put("Reshape", self.put("Relu", value), self.put("Shape", value))
        self.values.remove(self.values[-2])

    def concat(self) -> None:
        value = self.pick()
        if self.shape(value):
            self.put("Concat", value, self.put("Neg", value), axis=int(self.rng.integers(0, len(self.shape(value)))))

    def reduce(self) -> None:
        value = self.pick()
        if self.shape(value):
            axis = self.const(np.array([int(self.rng.integers(0, len(self.shape(value))))]))
            self.put("ReduceMean", value, axis, keepdims=int(self.rng.integers(0, 2)))

    def product(self) -> None:
        value = self.pick()
        if self.shape(value):
            width = self.shape(value)[-1]
            weight = self.rng.standard_normal((width, 3)).astype(np.float32) / max(width, 1)
            made = self.put("MatMul", value, self.const(weight))
            if self.rng.random() < 0.7:
                made = self.put("Add", made, self.const(self.rng.standard_normal(3).astype(np.float32)))
            if self.rng.random() < 0.7:
                self.put(str(self.rng.choice(["Relu", "Tanh", "HardSwish"])), made)

    def silu(self) -> None:
        value = self.pick()
        self.put("Mul", value, self.put("Sigmoid", value))

    def norm(self) -> None:
        value = self.pick()
        if not self.shape(value):
            return
        axis = self.const(np.array([-1]))
        centred = self.put("Sub", value, self.put("ReduceMean", value, axis))
        var = self.put("ReduceMean", self.put("Mul", centred, centred), axis)
        root = self.put("Sqrt", self.put("Add", var, self.const(np.float32(1e-3))))
        self.put("Div", centred, root)

    def repeat(self) -> None:
        """The same node once more."""
        nodes = [n for n in self.graph if n.output.dtype is DType.FLOAT32]
        if nodes:
            node = nodes[int(self.rng.integers(0, len(nodes)))]
            self.put(node.op, *(v for v in node.inputs if v is not None), **node.attributes)

    def grow(self, steps: int) -> Graph:
        kinds: list[Callable[[], None]] = [
            self.unary, self.scalar, self.divide, self.square, self.binary, self.transpose, self.transpose,
            self.reshape, self.unsqueeze, self.through_shape, self.concat, self.reduce, self.product, self.silu,
            self.norm, self.repeat,
        ]  # fmt: skip
        while len(self.graph) < steps:
            kinds[int(self.rng.integers(0, len(kinds)))]()
            if self.values[-1].tensor.size > 4000:
                self.values.pop()
        outputs = {id(v): v for v in (self.values[-1], self.pick(), self.pick())}
        for value in outputs.values():
            self.graph.add_output(value)
        return self.graph


@pytest.mark.parametrize("seed", range(60))
def test_pipeline_keeps_the_numbers(apply: Any, seed: int) -> None:
    graph = Grower(seed).grow(24)
    passes = [*pipeline("full", "portable"), *pipeline("full", "specialised")]
    before = [str(v.type) for v in graph.outputs]
    done = apply(passes, graph, takes=TAKES, rtol=2e-3, atol=2e-4, settles=False)
    assert [str(v.type) for v in done.graph.outputs] == before
