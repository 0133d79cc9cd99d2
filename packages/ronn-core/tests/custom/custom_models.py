"""Small models of custom operators."""

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h

DOMAIN = "test.custom"


def node(op, inputs, outputs, **attributes):
    return h.make_node(op, inputs, outputs, domain=DOMAIN, **attributes)


def info(name, shape=("N",), dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs=None, outputs=None, constants=None, version=1):
    graph = h.make_graph(
        nodes,
        "g",
        [info("x")] if inputs is None else inputs,
        [info("y")] if outputs is None else outputs,
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    imports = [h.make_opsetid("", 18), h.make_opsetid(DOMAIN, version)]
    return h.make_model(graph, opset_imports=imports, ir_version=9)
