"""Pages of a model whose every name is hostile, and of one with control flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
from ronn.inspection import Inspection, inspect_model

EVIL = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>\u2028<!--"
EVIL_OP_NAME = f"bend{EVIL}"


def hostile_model() -> onnx.ModelProto:
    """float ``x`` [N, 8] -> ``y``: MatMul, Tanh, Identity, Add; all names try to leave the page's data."""
    value = f"v{EVIL}"
    nodes = [
        h.make_node("MatMul", ["x", "w"], [value], "product"),
        h.make_node("Tanh", [value], ["t"], EVIL_OP_NAME),
        h.make_node("Identity", ["t"], ["i"], "{{data}}"),
        h.make_node("Add", ["i", "b"], ["y"], "]]>&lt;\\"),
    ]
    constants = [("w", np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)), ("b", np.float32([np.nan] * 8))]
    graph = h.make_graph(
        nodes,
        EVIL,
        [h.make_tensor_value_info("x", T.FLOAT, ["N", 8])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N", 8])],
        [numpy_helper.from_array(a, n) for n, a in constants],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9, producer_name=EVIL)
    h.set_model_props(model, {EVIL: EVIL})
    return model


def branching_model() -> onnx.ModelProto:
    """bool ``c`` and float ``x`` [4] -> ``y`` [4]: an If whose branches use ``x`` from outside."""

    def branch(op: str) -> onnx.GraphProto:
        nodes = [h.make_node(op, ["x"], ["r"], f"inner {op}")]
        return h.make_graph(nodes, op, [], [h.make_tensor_value_info("r", T.FLOAT, [4])])

    nodes = [
        h.make_node("If", ["c"], ["z"], "choice", then_branch=branch("Exp"), else_branch=branch("Neg")),
        h.make_node("Relu", ["z"], ["y"], "end"),
    ]
    inputs = [h.make_tensor_value_info("c", T.BOOL, []), h.make_tensor_value_info("x", T.FLOAT, [4])]
    graph = h.make_graph(nodes, "g", inputs, [h.make_tensor_value_info("y", T.FLOAT, [4])])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)


def inspected(model: onnx.ModelProto) -> Inspection:
    return inspect_model(ronn.load(model), providers=["reference"])


def write_pages(folder: Path) -> dict[str, Path]:
    """Files by name: ``inspect`` and ``profile`` of the hostile model, ``branches`` (inspect) of the other."""
    pages = {name: folder / f"{name}.html" for name in ("inspect", "profile", "branches")}
    inspected(hostile_model()).save(pages["inspect"])
    inspected(branching_model()).save(pages["branches"])
    session = ronn.Session(hostile_model(), providers=["reference"])
    session.profile(np.ones((4, 8), np.float32), runs=2).save(pages["profile"])
    return pages
