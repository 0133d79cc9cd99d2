"""fuse-gelu: the spellings of Gelu, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.passes.fuse_gelu import fuse_gelu

HEAD = 'opset {"": 17}\ngraph g(%x: f32[N,8]) {\n  %half: f32[] = const {0.5}\n  %one: f32[1] = const {1.0}\n'
ERF = {
    "outer half": """
  %r: f32[] = const {1.4142135}
  %d = Div(%x, %r)
  %e = Erf(%d)
  %a = Add(%e, %one)
  %m = Mul(%x, %a)
  %y = Mul(%m, %half)
""",
    "inner half": """
  %r: f32[] = const {0.70710677}
  %d = Mul(%x, %r)
  %e = Erf(%d)
  %a = Add(%one, %e)
  %h = Mul(%half, %x)
  %y = Mul(%h, %a)
""",
    "half of the gate": """
  %r: f32[] = const {1.4142135}
  %d = Div(%x, %r)
  %e = Erf(%d)
  %a = Add(%e, %one)
  %h = Mul(%a, %half)
  %y = Mul(%x, %h)
""",
}
TANH = {
    "cube by Pow": """
  %three: f32[] = const {3.0}
  %k: f32[] = const {0.044715}
  %f: f32[] = const {0.7978846}
  %p = Pow(%x, %three)
  %q = Mul(%k, %p)
  %s = Add(%x, %q)
  %u = Mul(%f, %s)
  %t = Tanh(%u)
  %a = Add(%one, %t)
  %h = Mul(%half, %x)
  %y = Mul(%h, %a)
""",
    "factored": """
  %k: f32[] = const {0.044715}
  %f: f32[] = const {0.7978846}
  %v = Mul(%x, %f)
  %q = Mul(%x, %k)
  %r = Mul(%x, %q)
  %s = Add(%one, %r)
  %u = Mul(%v, %s)
  %t = Tanh(%u)
  %a = Add(%t, %one)
  %h = Mul(%x, %half)
  %y = Mul(%h, %a)
""",
}


@pytest.mark.parametrize("body", ERF.values(), ids=ERF)
def test_erf_forms(apply: Any, body: str) -> None:
    done = apply(fuse_gelu, HEAD + body + "  return %y\n}\n", takes="Gelu", rtol=1e-5, atol=1e-6)
    (gelu,) = done.graph
    assert (gelu.op, gelu.version, gelu.attributes) == ("Gelu", 20, {"approximate": "none"})
    assert gelu.tags == ("fuse-gelu:erf-gelu",)
    assert gelu.output.name == "y"


@pytest.mark.parametrize("body", TANH.values(), ids=TANH)
def test_tanh_forms(apply: Any, body: str) -> None:
    done = apply(fuse_gelu, HEAD + body + "  return %y\n}\n", takes="Gelu", rtol=1e-5, atol=1e-6)
    (gelu,) = done.graph
    assert (gelu.op, gelu.attributes) == ("Gelu", {"approximate": "tanh"})


def test_nobody_takes_it(apply: Any) -> None:
    done = apply(fuse_gelu, HEAD + ERF["outer half"] + "  return %y\n}\n")
    assert done.ops == ["Div", "Erf", "Add", "Mul", "Mul"]
    assert done.reasons == ["no provider takes Gelu"]


def test_inner_value_used_elsewhere(apply: Any) -> None:
    done = apply(fuse_gelu, HEAD + ERF["outer half"] + "  return %y, %e\n}\n", takes="Gelu")
    assert "Gelu" not in done.ops


def test_wrong_constant(apply: Any) -> None:
    text = HEAD + ERF["outer half"].replace("1.4142135", "1.42") + "  return %y\n}\n"
    assert "Gelu" not in apply(fuse_gelu, text, takes="Gelu").ops


def test_constant_that_raises_the_rank(apply: Any) -> None:
    text = HEAD.replace("half: f32[]", "half: f32[1,1,1]") + ERF["outer half"] + "  return %y\n}\n"
    done = apply(fuse_gelu, text, takes="Gelu")
    assert done.reasons == ["a constant raises the rank"]
