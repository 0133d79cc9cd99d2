"""fuse-silu: Swish and HardSwish in the ways in which they are written."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.passes.fuse_silu import fuse_silu


def text(body: str, opset: int = 17) -> str:
    return f'opset {{"": {opset}}}\ngraph g(%x: f32[N,8]) {{\n{body}\n  return %y\n}}\n'


def test_silu(apply: Any) -> None:
    done = apply(fuse_silu, text("%s = Sigmoid(%x)\n%y = Mul(%s, %x)"), takes="Swish", rtol=1e-6)
    (node,) = done.graph
    assert (node.op, node.version, node.attributes) == ("Swish", 24, {"alpha": 1.0})


def test_alpha(apply: Any) -> None:
    body = "%a: f32[] = const {1.702}\n%m = Mul(%x, %a)\n%s = Sigmoid(%m)\n%y = Mul(%x, %s)"
    (node,) = apply(fuse_silu, text(body), takes="Swish", rtol=1e-6).graph
    assert node.attributes["alpha"] == pytest.approx(1.702)


def test_not_offered_where_nobody_takes_it(apply: Any) -> None:
    done = apply(fuse_silu, text("%s = Sigmoid(%x)\n%y = Mul(%x, %s)"))
    assert not done.changed and done.reasons == ["no provider takes Swish"]


def test_sigmoid_of_something_else(apply: Any) -> None:
    assert not apply(fuse_silu, text("%e = Exp(%x)\n%s = Sigmoid(%e)\n%y = Mul(%x, %s)"), takes="Swish").changed


CONSTANTS = "%three: f32[] = const {3.0}\n%zero: f32[] = const {0.0}\n%six: f32[] = const {6.0}\n"
CLIP = CONSTANTS + "%a = Add(%x, %three)\n%c = Clip(%a, %zero, %six)\n"
HARD = {
    "HardSigmoid": "%s = HardSigmoid(%x) {alpha=0.16666667, beta=0.5}\n%y = Mul(%x, %s)",
    "product, then by six": CLIP + "%m = Mul(%x, %c)\n%y = Div(%m, %six)",
    "gate by six": CLIP + "%m = Div(%c, %six)\n%y = Mul(%m, %x)",
    "times a sixth": CLIP + "%k: f32[] = const {0.16666667}\n%m = Mul(%x, %c)\n%y = Mul(%m, %k)",
}


@pytest.mark.parametrize("body", HARD.values(), ids=HARD)
def test_hard_swish(apply: Any, body: str) -> None:
    done = apply(fuse_silu, text(body), takes="HardSwish", rtol=1e-5, atol=1e-6)
    (node,) = done.graph
    assert (node.op, node.version) == ("HardSwish", 14)


def test_hard_swish_with_clip_attributes(apply: Any) -> None:
    body = "%three: f32[] = const {3.0}\n%six: f32[] = const {6.0}\n%a = Add(%x, %three)\n"
    body += "%c = Clip(%a) {min=0.0, max=6.0}\n%m = Mul(%x, %c)\n%y = Div(%m, %six)"
    assert apply(fuse_silu, text(body, 10), takes="HardSwish", rtol=1e-5, atol=1e-6).ops == ["HardSwish"]


@pytest.mark.parametrize(
    "body",
    [
        HARD["HardSigmoid"].replace("0.16666667", "0.2"),
        HARD["gate by six"].replace("%zero: f32[] = const {0.0}", "%zero: f32[] = const {0.5}"),
        HARD["gate by six"].replace("Clip(%a, %zero, %six)", "Clip(%a, %zero)"),
    ],
)
def test_other_gates_stay(apply: Any, body: str) -> None:
    assert not apply(fuse_silu, text(body), takes="HardSwish").changed
