"""Cases of ``cases``: models whose nodes have inputs, or outputs, of types that cannot be."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
from cases import CASES, in_folder, many, session
from models import DOUBLE, FLOAT, INT64, STRING
from onnx import TensorProto, helper

BOOL, INT32 = TensorProto.BOOL, TensorProto.INT32


def of(*nodes: Any, y: int = FLOAT, constants: Any = None, **inputs: int) -> bytes:
    """A model of these nodes, with vectors of two elements as inputs and as output y."""
    ends = [(n, kind, [2] if n != "c" else []) for n, kind in inputs.items()]
    return models.model(nodes, ends, [("y", y, None)], constants)


def node(op: str, *inputs: str, to: str = "y", name: str = "n", **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), [to], name=name, **attributes)


def branch(op: str, *inputs: str) -> Any:
    info = helper.make_tensor_value_info("t", FLOAT, [2])
    return helper.make_graph([node(op, *inputs, to="t", name="inner")], "branch", [], [info])


ADD = [node("Add", "a", "b")]
CHOICE = node("If", "c", then_branch=branch("Add", "a", "b"), else_branch=branch("Identity", "a"))
CAST = node("Cast", "a", to="h", name="cast")
SIZES, K = node("Shape", "a", to="h", name="sizes"), {"k": np.arange(2)}
CAST.attribute.append(helper.make_attribute("to", INT64))

many(
    CASES,
    types_differ=lambda o: session(o, of(*ADD, a=FLOAT, b=INT64)),
    types_differ_in_file=lambda o: in_folder(o, "t.onnx", of(*ADD, a=FLOAT, b=INT64)),
    types_differ_in_a_node_without_a_name=lambda o: session(o, of(node("Add", "a", "b", name=""), a=FLOAT, b=DOUBLE)),
    types_differ_behind_a_cast=lambda o: session(o, of(CAST, node("Mul", "h", "b"), a=FLOAT, b=FLOAT)),
    types_differ_behind_another_node=lambda o: session(o, of(SIZES, node("Mul", "h", "a"), a=FLOAT)),
    types_differ_from_a_constant=lambda o: session(o, of(node("Mul", "a", "k"), a=FLOAT, constants=K)),
    types_differ_in_a_list=lambda o: session(o, of(node("Sum", "a", "a", "b"), a=FLOAT, b=DOUBLE)),
    types_differ_of_three=lambda o: session(o, of(node("Where", "k", "a", "b"), k=BOOL, a=FLOAT, b=DOUBLE)),
    types_differ_in_a_branch=lambda o: session(o, of(CHOICE, c=BOOL, a=FLOAT, b=DOUBLE)),
    types_differ_in_a_dead_node=lambda o: session(
        o, of(node("Relu", "a"), node("Add", "a", "b", to="z", name="dead"), a=FLOAT, b=DOUBLE)
    ),
    types_that_may_differ=lambda o: session(o, of(node("Pow", "a", "b"), a=FLOAT, b=INT64)).run(
        None, {"a": np.float32([2, 3]), "b": np.int64([2, 2])}
    ),
    type_that_the_operator_lacks=lambda o: session(o, of(*ADD, a=STRING, b=STRING, y=STRING)),
    type_that_the_operator_lacks_in_file=lambda o: in_folder(o, "t.onnx", of(*ADD, a=STRING, b=STRING, y=STRING)),
    type_that_indices_lack=lambda o: session(o, of(node("Gather", "a", "b"), a=FLOAT, b=FLOAT)),
    type_that_axes_lack=lambda o: session(o, of(node("ReduceSum", "a", "b"), a=FLOAT, b=INT32)),
    type_of_an_output_is_another=lambda o: session(o, of(node("Relu", "a"), a=FLOAT, y=INT64)),
)
