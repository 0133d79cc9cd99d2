"""fuse-attention: the spellings of scaled dot-product attention, and the reasons against."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ronn.passes.fuse_attention import fuse_attention


def text(body: str, inputs: str = "", opset: int = 17) -> str:
    head = "%q: f32[B,2,4,8], %k: f32[B,2,5,8], %v: f32[B,2,5,6]" + inputs
    constants = "  %c: f32[] = const {0.35355338}\n  %r: f32[] = const {2.828427}\n  %h: f32[] = const {0.59460354}\n"
    return f'opset {{"": {opset}}}\ngraph g({head}) {{\n{constants}{body}\n  return %y\n}}\n'


T = "%t = Transpose(%k) {perm=[0, 1, 3, 2]}\n"
END = "%p = Softmax(%s) {axis=-1}\n%y = MatMul(%p, %v)"
FORMS = {
    "plain": T + "%s = MatMul(%q, %t)\n" + END,
    "Mul": T + "%m = MatMul(%q, %t)\n%s = Mul(%m, %c)\n" + END,
    "Div": T + "%m = MatMul(%q, %t)\n%s = Div(%m, %r)\n" + END,
    "scaled queries": T + "%a = Mul(%q, %c)\n%s = MatMul(%a, %t)\n" + END,
    "both scaled": T + "%a = Mul(%q, %h)\n%b = Mul(%t, %h)\n%s = MatMul(%a, %b)\n" + END,
    "keys scaled before": "%b = Div(%k, %r)\n" + T.replace("%k", "%b") + "%s = MatMul(%q, %t)\n" + END,
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(apply: Any, name: str) -> None:
    (node,) = apply(fuse_attention, text(FORMS[name]), takes="Attention", rtol=1e-5, atol=1e-6).graph
    assert (node.op, node.version) == ("Attention", 23)
    assert [v.name for v in node.inputs] == ["q", "k", "v"]
    assert node.attributes["scale"] == pytest.approx(1.0 if name == "plain" else 8**-0.5)


@pytest.mark.parametrize("shape", ["B,2,4,5", "B,1,1,5", "1,1,4,5", "4,5"])
def test_masks(apply: Any, shape: str) -> None:
    body = T + "%m = MatMul(%q, %t)\n%n = Div(%m, %r)\n%s = Add(%mask, %n)\n" + END
    done = apply(fuse_attention, text(body, f", %mask: f32[{shape}]"), takes="Attention", rtol=1e-5, atol=1e-6)
    (node,) = done.graph
    assert [v.name for v in node.inputs] == ["q", "k", "v", "mask"]


def test_transposes_of_the_heads(apply: Any) -> None:
    body = """%kt = Transpose(%k0) {perm=[0, 2, 3, 1]}
  %m = MatMul(%q, %kt)
  %s = Mul(%m, %c)
"""
    done = apply(fuse_attention, text(body + END, ", %k0: f32[B,5,2,8]"), takes="Attention", rtol=1e-5, atol=1e-6)
    assert done.ops == ["Transpose", "Attention"]
    assert done.graph.nodes[0].attributes["perm"] == [0, 2, 1, 3]


GUARD = "%m = MatMul(%q, %t)\n%n = Mul(%m, %c)\n%s = Add(%n, %mask)\n%p0 = Softmax(%s)\n%i = IsNaN(%p0)\n"
GUARD += "%z: f32[] = const {0.0}\n%p = Where(%i, %z, %p0)\n%y = MatMul(%p, %v)"


def feeds(**more: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"q": (3, 2, 4, 8), "k": (3, 2, 5, 8), "v": (3, 2, 5, 6)}
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()} | more


def test_guard_against_masked_rows_is_kept_where_rows_can_be_masked(apply: Any) -> None:
    mask = np.zeros((4, 5), np.float32)
    mask[1] = -np.inf
    mask[2, 3] = -np.inf
    source = text(T + GUARD, ", %mask: f32[4,5]")
    done = apply(fuse_attention, source, takes="Attention", feeds=feeds(mask=mask), rtol=1e-5, atol=1e-6)
    assert done.ops == ["Attention", "IsNaN", "Where"]


def test_guard_goes_when_the_mask_is_finite(apply: Any) -> None:
    body = "%lo: f32[] = const {-3.4028235e+38}\n%zero: f32[] = const {0.0}\n%mask = Where(%keep, %zero, %lo)\n"
    keep = np.ones((4, 5), bool)
    keep[1], keep[2, 3] = False, False
    source = text(body + T + GUARD, ", %keep: bool[4,5]")
    done = apply(fuse_attention, source, takes="Attention", feeds=feeds(keep=keep), rtol=1e-5, atol=1e-6)
    assert done.ops == ["Where", "Attention"]


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        (FORMS["Mul"].replace("axis=-1", "axis=1"), "", "the Softmax is not over the last dim"),
        (T + "%m = MatMul(%q, %t)\n%s = Mul(%m, %f)\n" + END, ", %f: f32[1]", "no constant number"),
        ("%s = MatMul(%q, %t)\n" + END, ", %t: f32[B,2,8,5]", "not transposed by a Transpose"),
        (FORMS["Mul"] + "\n%y2 = Exp(%p)", "", "the probabilities are used elsewhere"),
        (
            T + "%m = MatMul(%q, %t)\n%s = Where(%keep, %m, %c)\n" + END,
            ", %keep: bool[4,5]",
            "a mask by Where",
        ),
        (
            T + "%m = MatMul(%q, %t)\n%s = Add(%m, %mask)\n" + END,
            ", %mask: f32[4,1]",
            "the last dim of the mask is not the number of keys",
        ),
    ],
)
def test_reasons_against(apply: Any, body: str, inputs: str, reason: str) -> None:
    source = text(body, inputs)
    if "%y2" in body:
        source = source.replace("return %y", "return %y, %y2")
    done = apply(fuse_attention, source, takes="Attention", rtol=1e-5, atol=1e-6)
    assert not done.changed
    assert any(reason in r for r in done.reasons)


def test_broadcast_batch_is_refused(apply: Any) -> None:
    source = text(FORMS["Mul"]).replace("%k: f32[B,", "%k: f32[1,")
    done = apply(fuse_attention, source, takes="Attention")
    assert not done.changed and "batch dims ['1', 'B'] are not known to be equal" in done.reasons[0]


def test_nobody_takes_it(apply: Any) -> None:
    done = apply(fuse_attention, text(FORMS["Mul"]))
    assert not done.changed and done.reasons == ["no provider takes Attention"]


def test_scale_over_the_masked_scores_is_refused(apply: Any) -> None:
    body = T + "%m = MatMul(%q, %t)\n%n = Add(%m, %mask)\n%s = Mul(%n, %c)\n" + END
    assert not apply(fuse_attention, text(body, ", %mask: f32[4,5]"), takes="Attention").changed
