"""Small models for the tests of the drop-in face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, DOUBLE, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE, TensorProto.STRING


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Any]],
    outputs: Sequence[Any],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    ir: int = 8,
    domains: dict[str, int] | None = None,
    **about: Any,
) -> bytes:
    """A serialised model. Inputs and outputs are (name, element type, shape), or ValueInfoProtos."""

    def infos(given: Sequence[Any]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(*g) if isinstance(g, tuple) else g for g in given]

    initializers = [numpy_helper.from_array(a, n) for n, a in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", infos(inputs), infos(outputs), initializers)
    imports = [helper.make_opsetid(d, v) for d, v in {"": opset, **(domains or {})}.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, **about).SerializeToString()


def add() -> bytes:
    """Z = X + Y, float [2, 3]."""
    shape = [2, 3]
    node = helper.make_node("Add", ["X", "Y"], ["Z"], "plus")
    return model([node], [("X", FLOAT, shape), ("Y", FLOAT, shape)], [("Z", FLOAT, shape)])


def symbolic() -> bytes:
    """y = x @ w, sum of x: dims are a symbol, unknown, and a number."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
    ]
    outputs = [("y", FLOAT, ["batch", None, 4]), ("total", FLOAT, [])]
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    return model(nodes, [("x", FLOAT, ["batch", None, 3])], outputs, {"w": w})


def identity(element: int, shape: Any = ("n",)) -> bytes:
    """y = x of any element type."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], [("x", element, shape)], [("y", element, shape)], ir=10, opset=21)


def overridable(ir: int) -> bytes:
    """y = x + b, where b has a default."""
    node = helper.make_node("Add", ["x", "b"], ["y"])
    inputs = [("x", FLOAT, [2]), ("b", FLOAT, [2])]
    return model([node], inputs, [("y", FLOAT, [2])], {"b": np.array([1, 2], np.float32)}, ir=ir, opset=8)


def gather() -> bytes:
    """y = table[i], a table of 3 rows."""
    node = helper.make_node("Gather", ["table", "i"], ["y"], "lookup", axis=0)
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    return model([node], [("i", INT64, ["n"])], [("y", FLOAT, ["n", 2])], {"table": table})


def reshape() -> bytes:
    """y = reshape(x, s): fails at run time where s does not fit."""
    node = helper.make_node("Reshape", ["x", "s"], ["y"], "shaper")
    return model([node], [("x", FLOAT, ["n"]), ("s", INT64, ["r"])], [("y", FLOAT, None)])


def zipmap(keys: str = "int") -> bytes:
    """label and a sequence of maps, as classifiers of skl2onnx give them."""
    labels: dict[str, Any] = {"classlabels_ints": [0, 1]} if keys == "int" else {"classlabels_strings": ["no", "yes"]}
    zipped = {"classlabels_int64s": [0, 1]} if keys == "int" else {"classlabels_strings": ["no", "yes"]}
    kind = INT64 if keys == "int" else STRING
    nodes = [
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
            coefficients=[1.0, 0.0, 0.0, 1.0], intercepts=[0.0, 0.0], multi_class=0, post_transform="SOFTMAX", **labels,
        ),
        helper.make_node("ZipMap", ["scores"], ["probabilities"], domain="ai.onnx.ml", **zipped),
    ]  # fmt: skip
    map_type = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(FLOAT, None))
    sequence = helper.make_value_info("probabilities", helper.make_sequence_type_proto(map_type))
    outputs = [("label", kind, ["n"]), sequence]
    return model(nodes, [("x", FLOAT, ["n", 2])], outputs, domains={"ai.onnx.ml": 3})


def sequences() -> bytes:
    """A sequence of tensors in, the same with x at its end out."""
    node = helper.make_node("SequenceInsert", ["s", "x"], ["t"])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    inputs = [helper.make_value_info("s", kind), ("x", FLOAT, None)]
    return model([node], inputs, [helper.make_value_info("t", kind)])


def described() -> bytes:
    """A model with all its metadata."""
    node = helper.make_node("Relu", ["x"], ["y"])
    raw = onnx.ModelProto.FromString(
        model(
            [node], [("x", FLOAT, [1])], [("y", FLOAT, [1])],
            producer_name="maker", producer_version="1.2", domain="org.test", doc_string="what it does",
            model_version=7,
        )
    )  # fmt: skip
    raw.graph.doc_string = "the graph"
    helper.set_model_props(raw, {"character": "a\nb", "names": "{0: 'x'}"})
    return raw.SerializeToString()


def shared_symbol() -> bytes:
    """z joins x and y, whose only dim has one symbol; s is the rest of a broadcast sum with w of that symbol too."""
    nodes = [helper.make_node("Concat", ["x", "y"], ["z"], axis=0), helper.make_node("Add", ["x", "w"], ["s"])]
    inputs = [(n, FLOAT, ["n"]) for n in ("x", "y", "w")]
    return model(nodes, inputs, [("z", FLOAT, ["m"]), ("s", FLOAT, ["n"])])


def declared() -> bytes:
    """Relu of x: z is declared without a shape, t with another symbol, u with a rank only."""
    nodes = [helper.make_node("Relu", ["x"], [n]) for n in ("z", "t", "u")]
    outputs = [("z", FLOAT, None), ("t", FLOAT, ["other", 3]), ("u", FLOAT, [None, None])]
    return model(nodes, [("x", FLOAT, ["batch", 3])], outputs)


def wrong_rank() -> bytes:
    """y = Relu(x) of rank 2, declared with rank 1."""
    return model([helper.make_node("Relu", ["x"], ["y"])], [("x", FLOAT, ["batch", 3])], [("y", FLOAT, ["seq"])])


def unknown_op() -> bytes:
    node = helper.make_node("NoSuchOp", ["x"], ["y"], "odd")
    return model([node], [("x", FLOAT, [1])], [("y", FLOAT, [1])])


def unknown_domain() -> bytes:
    node = helper.make_node("Thing", ["x"], ["y"], "odd", domain="org.nowhere")
    return model([node], [("x", FLOAT, [1])], [("y", FLOAT, [1])], domains={"org.nowhere": 1})


def newer(opset: int = 17, ir: int = 8) -> bytes:
    node = helper.make_node("Relu", ["x"], ["y"])
    return model([node], [("x", FLOAT, [1])], [("y", FLOAT, [1])], opset=opset, ir=ir)


def bad_wiring() -> bytes:
    node = helper.make_node("Relu", ["nobody"], ["y"], "lonely")
    return model([node], [("x", FLOAT, [1])], [("y", FLOAT, [1])])


def bad_types() -> bytes:
    node = helper.make_node("Add", ["x", "z"], ["y"], "mixed")
    return model([node], [("x", FLOAT, [1]), ("z", INT64, [1])], [("y", FLOAT, [1])])


def denoted() -> bytes:
    """Dims with a denotation."""
    raw = onnx.ModelProto.FromString(model([helper.make_node("Relu", ["x"], ["y"])], [("x", FLOAT, ["b", 3])],
                                           [("y", FLOAT, ["b", 3])]))  # fmt: skip
    raw.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    return raw.SerializeToString()
