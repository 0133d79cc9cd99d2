"""Operators without a rule go through onnx's own inference, symbols and all."""

from __future__ import annotations

import pytest

from ronn.errors import ModelError
from ronn.ir.graph import Graph
from ronn.ir.text import parse
from ronn.ops import infer as inference
from ronn.ops.infer import infer_types


def infer(text: str) -> Graph:
    graph = parse(f"opset 18\ngraph g{text}")
    for node in graph:
        assert (node.domain, node.op) not in inference._rules, f"{node.op} has a rule"
    infer_types(graph)
    return graph


@pytest.fixture(autouse=True)
def _rules_are_loaded() -> None:
    inference.all_rules()


def test_symbols_pass_through_and_come_back() -> None:
    graph = infer("(%x: f32[B,2*N+1,'a b',2]) { %z = DFT(%x) {axis=1} return %z }")
    assert str(graph.outputs[0].type) == "f32[B,2*N+1,'a b',2]"


def test_constants_are_seen() -> None:
    graph = infer(
        "(%x: f32[1,5,5]) { %i = const i64[2]{5,5} %b = const i64[2]{1,5} %z = Col2Im(%x, %i, %b) return %z }"
    )
    assert str(graph.outputs[0].type) == "f32[1,1,5,5]"


def test_contradictions_become_model_errors_with_the_node() -> None:
    with pytest.raises(ModelError) as caught:
        infer("(%x: f32[7]) { %z = DFT(%x) {axis=9} return %z }")
    assert caught.value.op == "DFT"


def test_unknown_inputs_give_unknown_outputs() -> None:
    graph = infer("(%x) { %z = DFT(%x) {axis=1} return %z }")
    found = graph.outputs[0].tensor
    assert found.shape is None


def test_values_of_one_name_are_told_apart() -> None:
    graph = parse("opset 18 graph g(%x: f32[B,4,1], %y: i64[]) { %z = DFT(%x, %y) {axis=1} return %z }")
    graph.inputs[1].name = "x"
    infer_types(graph)
    assert str(graph.outputs[0].dtype) == "DType.FLOAT32"
