"""fuse-layer-norm: layer and RMS normalisation, with scale and bias."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.passes.fuse_layer_norm import fuse_layer_norm

HEAD = "  %eps: f32[] = const {1e-05}\n  %two: f32[] = const {2.0}\n"
HEAD += "  %half: f32[] = const {0.5}\n  %one: f32[] = const {1.0}\n"
HEAD += "  %g: f32[4] = const {1.0, 2.0, 3.0, 4.0}\n  %b: f32[4] = const {5.0, 6.0, 7.0, 8.0}\n"


def text(body: str, shape: str = "N,3,4", opset: int = 17) -> str:
    return f'opset {{"": {opset}}}\ngraph g(%x: f32[{shape}]) {{\n{HEAD}{body}\n  return %y\n}}\n'


CENTRED = "%mean = ReduceMean(%x) {axes=[-1]}\n%d = Sub(%x, %mean)\n"
MEAN = "%var = ReduceMean(%s) {axes=[-1]}\n%v = Add(%var, %eps)\n"
SQUARES = {"Mul": "%s = Mul(%d, %d)\n", "Pow": "%s = Pow(%d, %two)\n"}
OVER = {
    "Div": "%r = Sqrt(%v)\n%n = Div(%d, %r)\n",
    "root by Pow": "%r = Pow(%v, %half)\n%n = Div(%d, %r)\n",
    "Reciprocal": "%r = Sqrt(%v)\n%q = Reciprocal(%r)\n%n = Mul(%q, %d)\n",
    "one over": "%r = Sqrt(%v)\n%q = Div(%one, %r)\n%n = Mul(%d, %q)\n",
}
TAIL = "%m = Mul(%n, %g)\n%y = Add(%b, %m)"


@pytest.mark.parametrize("over", OVER.values(), ids=OVER)
@pytest.mark.parametrize("square", SQUARES.values(), ids=SQUARES)
def test_layer_norm(apply: Any, square: str, over: str) -> None:
    done = apply(fuse_layer_norm, text(CENTRED + square + MEAN + over + TAIL), takes="LayerNormalization", rtol=1e-5)
    (node,) = done.graph
    assert (node.op, node.version) == ("LayerNormalization", 17)
    assert node.attributes == {"axis": -1, "epsilon": pytest.approx(1e-5)}
    assert [v.name for v in node.inputs] == ["x", "g", "b"]


@pytest.mark.parametrize("over", OVER.values(), ids=OVER)
def test_rms_norm(apply: Any, over: str) -> None:
    body = "%s = Mul(%x, %x)\n" + MEAN + over.replace("%d", "%x") + "%y = Mul(%g, %n)"
    (node,) = apply(fuse_layer_norm, text(body), takes="RMSNormalization", rtol=1e-5).graph
    assert (node.op, node.version) == ("RMSNormalization", 23)
    assert [v.name for v in node.inputs] == ["x", "g"]


def test_axes_as_an_input(apply: Any) -> None:
    body = CENTRED + SQUARES["Mul"] + MEAN + OVER["Div"] + TAIL
    body = "%last: i64[1] = const {-1}\n" + body.replace("(%x) {axes=[-1]}", "(%x, %last)").replace(
        "(%s) {axes=[-1]}", "(%s, %last)"
    )
    assert apply(fuse_layer_norm, text(body, opset=18), takes="LayerNormalization", rtol=1e-5).ops == [
        "LayerNormalization"
    ]


def test_several_axes(apply: Any) -> None:
    body = (CENTRED + SQUARES["Mul"] + MEAN).replace("[-1]", "[1, 2]") + OVER["Div"] + "%y = Mul(%n, %g)"
    done = apply(fuse_layer_norm, text(body), takes="LayerNormalization", rtol=1e-5)
    # The scale has one dim, the normalised shape two.
    assert done.ops == ["LayerNormalization", "Mul"]
    assert done.graph.nodes[0].attributes["axis"] == -2


def test_scale_with_leading_ones(apply: Any) -> None:
    body = "%k: f32[1,1,4] = const {1.0, 2.0, 3.0, 4.0}\n" + CENTRED + SQUARES["Mul"] + MEAN + OVER["Div"]
    (node,) = apply(fuse_layer_norm, text(body + "%y = Mul(%n, %k)"), takes="LayerNormalization", rtol=1e-5).graph
    assert node.inputs[1].tensor.shape == (4,)


@pytest.mark.parametrize("other", [("[-1]", "[1]"), ("%var = ReduceMean(%s) {axes=[-1]}", "%var = ReduceMean(%s)")])
def test_other_means(apply: Any, other: tuple[str, str]) -> None:
    body = (CENTRED + SQUARES["Mul"] + MEAN).replace(*other) + OVER["Div"]
    reason = "the means are not over the last axes"
    done = apply(fuse_layer_norm, text(body + "%y = Neg(%n)"), takes="LayerNormalization")
    assert not done.changed and set(done.reasons) == {reason}


def test_unknown_normalised_dim(apply: Any) -> None:
    body = CENTRED + SQUARES["Mul"] + MEAN + OVER["Div"] + "%y = Neg(%n)"
    done = apply(fuse_layer_norm, text(body, "N,3,D"), takes="LayerNormalization")
    assert not done.changed and set(done.reasons) == {"the normalised dims are not known"}


def test_nobody_takes_it(apply: Any) -> None:
    body = CENTRED + SQUARES["Mul"] + MEAN + OVER["Div"] + "%y = Neg(%n)"
    done = apply(fuse_layer_norm, text(body))
    assert not done.changed and "no provider takes LayerNormalization" in done.reasons


def test_bias_that_broadcasts_more_is_left_outside(apply: Any) -> None:
    body = CENTRED + SQUARES["Mul"] + MEAN + OVER["Div"] + "%k: f32[] = const {2.0}\n%y = Add(%n, %k)"
    assert apply(fuse_layer_norm, text(body), takes="LayerNormalization", rtol=1e-5).ops == [
        "LayerNormalization",
        "Add",
    ]


def test_doubles_stay_doubles(apply: Any) -> None:
    body = CENTRED + SQUARES["Mul"] + MEAN + OVER["Div"] + TAIL
    done = apply(fuse_layer_norm, text(body).replace("f32", "f64"), takes="LayerNormalization")
    assert not done.changed and "the operator computes in float32, the values are f64[N,3,4]" in done.reasons


def test_half_precision_keeps_its_epsilon(apply: Any) -> None:
    body = CENTRED + SQUARES["Mul"] + MEAN + OVER["Div"] + TAIL
    source = text(body).replace("f32", "f16")
    (node,) = apply(fuse_layer_norm, source, takes="LayerNormalization", rtol=2e-2, atol=2e-2).graph
    assert node.attributes["epsilon"] == pytest.approx(1e-5, rel=1e-2)
