"""Models for the tests of tools: several operators, subgraphs, constants that need care."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn

RNG = np.random.default_rng(0)


def weights(*shape, scale=0.3):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def info(name, shape, dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


def build(nodes, inputs, outputs, constants=None, opset=17, ir=8, functions=(), **more):
    graph = h.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    )
    imports = [h.make_opsetid("", opset), *(h.make_opsetid(d, v) for d, v in more.items())]
    made = h.make_model(graph, opset_imports=imports, ir_version=ir, functions=functions)
    made.producer_name, made.doc_string, made.model_version = "a producer", "a description", 7
    h.set_model_props(made, {"labels": "cat,dog"})
    return made


def convnet(opset=17):
    """Conv, BatchNormalization, Relu, pool, Gemm, Softmax over f32[batch, 3, 8, 8]."""
    nodes = [
        h.make_node("Conv", ["x", "w"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        h.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], "norm"),
        h.make_node("Relu", ["n"], ["r"], "relu"),
        h.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        h.make_node("Flatten", ["p"], ["f"], "flat"),
        h.make_node("Gemm", ["f", "w2", "b2"], ["g"], "fc", transB=1),
        h.make_node("Softmax", ["g"], ["y"], "probabilities", axis=-1),
    ]
    constants = {
        "w": weights(16, 3, 3, 3), "s": np.ones(16, np.float32), "b": weights(16), "m": weights(16),
        "v": np.abs(weights(16)) + 1, "w2": weights(10, 16), "b2": weights(10),
    }  # fmt: skip
    return build(nodes, [info("x", ["batch", 3, 8, 8])], [info("y", ["batch", 10])], constants, opset)


def normalised(opset=17):
    """A layer normalisation and a GELU as exporters write them out, over f32[batch, 8]."""
    nodes = [
        h.make_node("ReduceMean", ["x"], ["mean"], axes=[-1], keepdims=1),
        h.make_node("Sub", ["x", "mean"], ["d"]),
        h.make_node("Mul", ["d", "d"], ["dd"]),
        h.make_node("ReduceMean", ["dd"], ["var"], axes=[-1], keepdims=1),
        h.make_node("Add", ["var", "eps"], ["ve"]),
        h.make_node("Sqrt", ["ve"], ["sd"]),
        h.make_node("Div", ["d", "sd"], ["q"]),
        h.make_node("Mul", ["q", "scale"], ["qs"]),
        h.make_node("Add", ["qs", "bias"], ["ln"]),
        h.make_node("Div", ["ln", "root"], ["e0"]),
        h.make_node("Erf", ["e0"], ["e1"]),
        h.make_node("Add", ["e1", "one"], ["e2"]),
        h.make_node("Mul", ["ln", "e2"], ["e3"]),
        h.make_node("Mul", ["e3", "half"], ["y"]),
    ]
    numbers = {"eps": 1e-5, "root": np.sqrt(2), "one": 1, "half": 0.5}
    constants = {n: np.array(v, np.float32) for n, v in numbers.items()}
    constants |= {"scale": weights(8), "bias": weights(8)}
    return build(nodes, [info("x", ["batch", 8])], [info("y", ["batch", 8])], constants, opset)


def looping(opset=17):
    """A Loop that carries a float and uses a value from outside, and an If, over f32[4]."""
    body = h.make_graph(
        [h.make_node("Add", ["a", "step"], ["b"]), h.make_node("Identity", ["go"], ["on"])], "body",
        [info("i", [], T.INT64), info("go", [], T.BOOL), info("a", [4])], [info("on", [], T.BOOL), info("b", [4])],
    )  # fmt: skip
    branches = {
        f"{kind}_branch": h.make_graph([h.make_node(op, ["l"], [kind])], kind, [], [info(kind, [4])])
        for kind, op in (("then", "Neg"), ("else", "Abs"))
    }
    nodes = [
        h.make_node("Mul", ["x", "k"], ["step"]),
        h.make_node("Loop", ["n", "", "x"], ["l"], body=body),
        h.make_node("ReduceSum", ["l"], ["t"], keepdims=0),
        h.make_node("Greater", ["t", "zero"], ["c"]),
        h.make_node("If", ["c"], ["y"], **branches),
    ]
    constants = {"k": np.full(4, 0.25, np.float32), "n": np.array(3), "zero": np.array(0, np.float32)}
    return build(nodes, [info("x", [4])], [info("y", [4])], constants, opset)


def run(model, feed):
    return ronn.Session(model).run(feed)


def on_onnxruntime(path, feed):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def feeds(model, batch=2):
    sizes = {"batch": batch}
    return {
        i.name: weights(*[sizes.get(d.dim_param, d.dim_value) for d in i.type.tensor_type.shape.dim], scale=1)
        for i in model.graph.input
    }


def written(model, path, **options):
    from ronn.frontend.proto import save_model

    save_model(model, path, **options)
    onnx.checker.check_model(str(path))
    return str(path)
