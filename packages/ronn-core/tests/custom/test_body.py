"""Operators with a body: every provider and every pass sees through them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper as h
from onnx import parser

sys.path.insert(0, str(Path(__file__).parent))
from custom_models import DOMAIN, model, node

import ronn
from ronn.errors import OptionError
from ronn.plugins import registry
from ronn.provider import KernelProvider, kernel

X = np.array([-1, 0.5, 2], np.float32)
ONNX_TEXT = f"""<domain: "{DOMAIN}", opset_import: ["" : 18]>
Leak <alpha> (x) => (y) {{ y = LeakyRelu <alpha: float = @alpha> (x) }}"""
RONN_TEXT = 'opset {"": 18} graph leak(%x) { %y = LeakyRelu(%x) {alpha=&alpha} return %y }'


def nodes():
    leak = h.make_node("LeakyRelu", ["x"], ["y"])
    leak.attribute.add(name="alpha", ref_attr_name="alpha", type=1)
    return [leak]


def leak(x, *, alpha: float = 0.5):
    raise AssertionError("the body stands in its place")


@pytest.mark.parametrize(
    "body", [ONNX_TEXT, RONN_TEXT, parser.parse_function(ONNX_TEXT), nodes(), (nodes(), {"": 16})],
    ids=["onnx text", "ronn text", "FunctionProto", "nodes", "nodes with opset"],
)  # fmt: skip
@pytest.mark.parametrize("given", [{}, {"alpha": 0.25}])
def test_forms_of_bodies(body, given):
    ronn.op(DOMAIN, "Leak", 1, body=body)(leak)
    s = ronn.Session(model([node("Leak", ["x"], ["y"], **given)]))
    assert np.allclose(s.run(X)["y"], np.where(X < 0, X * given.get("alpha", 0.5), X))
    assert [n.op for n in s.graph] == ["LeakyRelu"]


def test_bodies_are_made_of_other_custom_operators():
    ronn.op(DOMAIN, "Leak", 1, body=ONNX_TEXT)(leak)

    body = f'opset {{"{DOMAIN}": 1}} graph t(%x) {{ %a = "{DOMAIN}"::Leak(%x) %y = "{DOMAIN}"::Leak(%a) return %y }}'

    @ronn.op(DOMAIN, "Twice", 1, body=body)
    def twice(x):
        raise AssertionError

    s = ronn.Session(model([node("Twice", ["x"], ["y"])]))
    assert s.run(X)["y"].tolist() == [-0.25, 0.5, 2]


def test_bodies_in_a_circle():
    def text(other):
        return f'opset {{"{DOMAIN}": 1}} graph t(%x) {{ %y = "{DOMAIN}"::{other}(%x) return %y }}'

    ronn.op(DOMAIN, "A", 1, body=text("B"))(lambda x: x)
    ronn.op(DOMAIN, "B", 1, body=text("A"))(lambda x: x)
    with pytest.raises(ronn.ModelError, match="deep"):
        ronn.Session(model([node("A", ["x"], ["y"])]))


def test_a_provider_that_has_the_operator_keeps_it_whole():
    class Toy(KernelProvider):
        name = "toy-with-leak"

        @kernel("Leak", domain=DOMAIN)
        def leak(self, ctx, x, *, alpha):
            return x * np.float32(alpha)

    ronn.op(DOMAIN, "Leak", 1, body=ONNX_TEXT, shape="T[...] -> T[...]")(leak)
    registry().add(Toy())
    try:
        s = ronn.Session(model([node("Leak", ["x"], ["y"])]), providers=["toy-with-leak"])
        assert s.run(X)["y"].tolist() == (X * np.float32(0.5)).tolist()
    finally:
        registry().remove("toy-with-leak")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("nonsense (", "cannot be read"),
        ('opset {"": 18} graph g(%x, %z) { %y = Add(%x, %z) return %y }', "has 2 inputs, the function 1"),
        ('opset {"": 18} graph g(%x) { %y = Neg(%x) return %y, %x }', "has 2 outputs, the function 1"),
        (
            f'opset {{"{DOMAIN}": 1}} graph g(%x) {{ %y = "{DOMAIN}"::Leak(%x) return %y }}',
            "calls test.custom::Leak itself",
        ),
        (parser.parse_function(ONNX_TEXT.replace("alpha", "beta").replace("<beta:", "<alpha:")), "attributes beta"),
    ],
)
def test_bodies_that_are_wrong(body, says):
    with pytest.raises(OptionError, match=says):
        ronn.op(DOMAIN, "Leak", 1, body=body)(leak)
