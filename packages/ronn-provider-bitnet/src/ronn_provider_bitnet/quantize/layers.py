"""The layers of a model that can be quantised, products with constant matrices and convolutions, as rows of weights."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ronn.errors import OptionError, nearest
from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.passes.edit import attr, const
from ronn.records import dataclass, replace
from ronn_provider_bitnet.quantize.windows import Window, window_of

Array = np.ndarray
SMALLEST = 1024
"""Weights that a layer must have: of smaller ones, scales would take what codes save."""
_PRODUCTS = ("MatMul", "Gemm")
_KINDS = (*_PRODUCTS, "Conv", "ConvTranspose")


@dataclass(frozen=True, slots=True)
class Layer:
    """``x[..., K] @ w.T + bias`` at ``node``: w f32[N, K], bias f32[N] or None. window: of a convolution, whose K are
    the channels and places that it looks through; its bias stays with it."""

    name: str
    node: Node
    x: Value
    w: Array
    bias: Array | None
    edge: bool
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A product that stays as it is: its name, the bytes of its weights, and why."""

    name: str
    bytes: int
    reason: str


def find_layers(
    graph: Graph, *, skip: Collection[str] = (), smallest: int = SMALLEST
) -> tuple[list[Layer], list[Skipped]]:
    """Layers in the model's order; the first and the last of all with constant weights are its
    edges. ``skip``: names of nodes, or of their outputs, that stay as they are.

    Raises OptionError for a name in ``skip`` that no such layer has.
    """
    nodes = [n for n in graph if n.domain == "" and n.op in _KINDS and _weights(n) is not None]
    _check_names(nodes, skip)
    layers: list[Layer] = []
    skipped: list[Skipped] = []
    for place, node in enumerate(nodes):
        weights = _weights(node)
        assert weights is not None
        name = layer_name(node)
        if name in skip or node.output.name in skip:
            skipped.append(Skipped(name, weights.nbytes, "left out by name"))
            continue
        found = _layer(node, weights, smallest, place in (0, len(nodes) - 1))
        if isinstance(found, str):
            skipped.append(Skipped(name, weights.nbytes, found))
        else:
            layers.append(found)
    for node in (n for n in graph.all_nodes() if n.graph is not graph and n.op in _PRODUCTS):
        weights = _weights(node)
        if weights is not None and weights.size >= smallest:
            skipped.append(Skipped(layer_name(node), weights.nbytes, "inside of the body of another node"))
    return layers, skipped


def without_shapes(model: IRModel) -> IRModel:
    """The model, with constants in the place of Shape nodes of constants, which would keep weights in the file."""

    def found(graph: Graph) -> list[Node]:
        return [n for n in graph if n.op == "Shape" and n.domain == "" and const(n.input(0)) is not None]

    if not found(model.graph):
        return model
    graph = clone(model.graph)
    for node in found(graph):
        data = const(node.input(0))
        assert data is not None
        sizes = data.shape[int(attr(node, "start", 0)) : attr(node, "end", None)]
        graph.replace_uses(node.output, graph.constant(np.array(sizes, np.int64), graph.fresh_name(node.output.name)))
        graph.remove(node)
    return replace(model, graph=graph)


def layer_name(node: Node) -> str:
    """The node's name, or its output's where it has none."""
    return node.name if node.name else node.output.name


def _check_names(nodes: list[Node], skip: Collection[str]) -> None:
    names = {layer_name(n) for n in nodes} | {n.output.name for n in nodes}
    for name in skip:
        if name not in names:
            near = nearest(name, sorted(names))
            raise OptionError(
                f"--skip {name!r}: no layer with constant weights has this name",
                hint=f"did you mean {near!r}?" if near else "a report without --skip lists the names",
            )


def _weights(node: Node) -> Array | None:
    """The constant that a product multiplies with, through Identity and Transpose of two axes."""
    value = node.input(1)
    data = const(value)
    if data is None and value is not None and value.producer is not None and value.producer.domain == "":
        maker = value.producer
        if maker.op == "Identity":
            data = const(maker.input(0))
        elif maker.op == "Constant" and isinstance(maker.attributes.get("value"), np.ndarray):
            data = maker.attributes["value"]
        elif maker.op == "Transpose":
            inner = const(maker.input(0))
            if inner is not None and inner.ndim == 2 and list(maker.attributes.get("perm", [1, 0])) == [1, 0]:
                data = inner.T
    return data


def _layer(node: Node, weights: Array, smallest: int, edge: bool) -> Layer | str:
    """The layer, or why it is none."""
    if node.op == "ConvTranspose":
        return "ConvTranspose is not quantised"
    x = node.inputs[0]
    if weights.dtype != np.float32:
        return f"weights are {weights.dtype}, not float32"
    if node.op == "Conv" and int(attr(node, "group", 1)) != 1:
        return "a convolution by groups of channels"
    if node.op != "Conv" and weights.ndim != 2:
        return f"weights of {weights.ndim} axes, not 2"
    if weights.size < smallest:
        return f"{weights.size} weights, fewer than {smallest}"
    if x is None or x.is_const or x.tensor.rank in (0, 1):
        return "its input is constant, or no matrix"
    if not np.isfinite(weights).all():
        return "weights that are NaN or infinite"
    if (used := _used_elsewhere(node)) is not None:
        return f"{used} uses the weights too, and would keep them in float32"
    if node.op == "Conv":
        rows = np.ascontiguousarray(weights.reshape(len(weights), -1))
        return Layer(layer_name(node), node, x, rows, None, edge, window_of(node, weights.shape[2:]))
    w, bias, alpha = weights.T, None, 1.0
    if node.op == "Gemm":
        if attr(node, "transA", 0):
            return "its input is transposed (transA)"
        alpha, beta = float(attr(node, "alpha", 1.0)), float(attr(node, "beta", 1.0))
        w = weights if attr(node, "transB", 0) else weights.T
        if node.input(2) is not None:
            given = const(node.input(2))
            if given is None or given.dtype != np.float32 or given.reshape(-1).shape not in ((1,), (len(w),)):
                return "its bias is not constant, or not one number a column"
            bias = np.ascontiguousarray(np.broadcast_to(given.reshape(-1) * np.float32(beta), len(w)))
    rows = np.ascontiguousarray(w if alpha == 1.0 else w * np.float32(alpha))
    return Layer(layer_name(node), node, x, rows, bias, edge)


def _used_elsewhere(node: Node) -> str | None:
    """A node that would keep the float weights of ``node`` in the file: one that is no product with them."""
    value = node.inputs[1]
    while value is not None:
        for other in value.consumers:
            through = other.op in ("Identity", "Transpose") and other.output in node.inputs
            if not through and not (other.op in (*_PRODUCTS, "Conv") and other.input(1) is value):
                return other.label
        value = None if value.producer is None else value.producer.input(0)
    return None
