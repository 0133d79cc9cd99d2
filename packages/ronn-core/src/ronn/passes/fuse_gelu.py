"""Finds the Gelu activation, spelled with Erf or with Tanh."""

from __future__ import annotations

import math

from ronn.passes.edit import Builder
from ronn.passes.monomial import Monomial
from ronn.passes.offer import offer, same_rank
from ronn.passes.rewrite import Const, Match, Op, Pattern, Refusal, Replacement, RuleSet, Var, one_of, rule

X = Var("x")
HALF, ONE, ROOT2 = Const(value=0.5), Const(value=1.0), Const(value=math.sqrt(2))


def _halved_product(gate: Pattern) -> list[Op]:
    """The ways to write 0.5 * x * gate."""
    return [
        Op("Mul", Op("Mul", X, gate), HALF),
        Op("Div", Op("Mul", X, gate), Const(value=2.0)),
        Op("Mul", Op("Mul", X, HALF), gate),
        Op("Mul", Op("Div", X, Const(value=2.0)), gate),
        Op("Mul", X, Op("Mul", gate, HALF)),
    ]


def _gelu(b: Builder, m: Match, approximate: str) -> Replacement:
    if not same_rank(m["x"], m.root.output):
        return Refusal("a constant raises the rank")
    return offer(b, "Gelu", [m["x"]], {"approximate": approximate}, version=20, like=m.root.output)


_ERF = Op("Add", Op("Erf", one_of(Op("Div", X, ROOT2), Op("Mul", X, Const(value=math.sqrt(0.5))))), ONE)

_CUBIC, _FACTOR = 0.044715, math.sqrt(2 / math.pi)
_FACTORED = Op("Add", Monomial("x", 2, _CUBIC), ONE)  # 1 + 0.044715 * x**2
_ARGUMENT = one_of(
    Op("Mul", Op("Add", X, Monomial("x", 3, _CUBIC)), Const(value=_FACTOR)),
    Op("Add", Monomial("x", 1, _FACTOR), Monomial("x", 3, _FACTOR * _CUBIC), any_order=True),
    Op("Mul", Monomial("x", 1, _FACTOR), _FACTORED, any_order=True),
    Op("Mul", Op("Mul", X, _FACTORED), Const(value=_FACTOR)),
    Op("Mul", X, Op("Mul", _FACTORED, Const(value=_FACTOR))),
)
_TANH = Op("Add", Op("Tanh", _ARGUMENT), ONE)


def _erf_gelu(b: Builder, m: Match) -> Replacement:
    """0.5 * x * (1 + erf(x / sqrt(2))) is Gelu(x)."""
    return _gelu(b, m, "none")


def _tanh_gelu(b: Builder, m: Match) -> Replacement:
    """0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x**3))) is Gelu(x, approximate="tanh")."""
    return _gelu(b, m, "tanh")


RULES = RuleSet(
    [rule(p, name="erf-gelu")(_erf_gelu) for p in _halved_product(_ERF)]
    + [rule(p, name="tanh-gelu")(_tanh_gelu) for p in _halved_product(_TANH)]
)
fuse_gelu = RULES.as_pass("fuse-gelu")
