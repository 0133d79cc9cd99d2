"""Symbolic dimensions: integers, or integer polynomials over named sizes.

``N``, ``2*N+1``, ``(H+1)//2`` are dims. A ``Sym`` is kept in a canonical form (sorted monomials with integer
coefficients), so that two equal polynomials are equal objects. Division, remainder, minimum and maximum are
opaque atoms unless they can be resolved.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Union

_MAX_TERMS = 64
_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Fn:
    """An opaque integer function of dims: ``floordiv``, ``mod``, ``min`` or ``max``."""

    name: str
    args: tuple[Dim, ...]

    def __str__(self) -> str:
        if self.name in _INFIX:
            left, right = (f"({a})" if isinstance(a, Sym) and not a.is_name else str(a) for a in self.args)
            return f"({left}{_INFIX[self.name]}{right})"
        return f"{self.name}({','.join(map(str, self.args))})"

    def depth(self) -> int:
        return 1 + max((a.depth() for a in self.args if isinstance(a, Sym)), default=0)


Atom = Union[str, Fn]
Monomial = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Sym:
    """A polynomial with integer coefficients over atoms: ``terms`` maps sorted monomials to coefficients."""

    terms: tuple[tuple[Monomial, int], ...]

    @property
    def is_name(self) -> bool:
        return len(self.terms) == 1 and self.terms[0][1] == 1 and len(self.terms[0][0]) == 1

    def depth(self) -> int:
        return max((a.depth() for mono, _ in self.terms for a in mono if isinstance(a, Fn)), default=0)

    def names(self) -> set[str]:
        """The named sizes that this expression depends on."""
        found: set[str] = set()
        for mono, _ in self.terms:
            for atom in mono:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found.update(*(a.names() for a in atom.args if isinstance(a, Sym)))
        return found

    def __add__(self, other: Dim) -> Dim:
        return _make(_terms(self) + _terms(other))

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    def __mul__(self, other: Dim) -> Dim:
        if len(self.terms) * len(_terms(other)) > _MAX_TERMS:
            return _opaque("mul", self, other)
        return _make(
            tuple((tuple(sorted(m1 + m2, key=str)), c1 * c2) for m1, c1 in self.terms for m2, c2 in _terms(other))
        )

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __mod__(self, other: Dim) -> Dim:
        return self - floordiv(self, other) * other

    def __str__(self) -> str:
        parts: list[str] = []
        for mono, coef in self.terms:
            factors = [_atom_text(a) for a in mono]
            body = "*".join(factors if abs(coef) == 1 and factors else [str(abs(coef)), *factors])
            parts.append(("-" if coef < 0 else "+" if parts else "") + body)
        return "".join(parts)

    def __repr__(self) -> str:
        return f"Sym({str(self)!r})"


Dim = Union[int, Sym]
Shape = tuple[Union[int, Sym, None], ...]

_INFIX = {"floordiv": "//", "mul": "*"}


def sym(name: str) -> Sym:
    """The dim called ``name``."""
    return Sym((((name,), 1),))


def _terms(d: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(d, Sym):
        return d.terms
    return (((), int(d)),) if d else ()


def _make(terms: tuple[tuple[Monomial, int], ...]) -> Dim:
    total: dict[Monomial, int] = {}
    for mono, coef in terms:
        total[mono] = total.get(mono, 0) + coef
    kept = tuple(sorted(((m, c) for m, c in total.items() if c), key=lambda t: (-len(t[0]), [str(a) for a in t[0]])))
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    return Sym(kept)


def _opaque(name: str, *args: Dim) -> Dim:
    return Sym((((Fn(name, args),), 1),))


def floordiv(a: Dim, b: Dim) -> Dim:
    """``a // b``, exact where every coefficient divides."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if isinstance(b, int) and b != 0:
        if b == 1:
            return a
        exact = tuple((m, c // b) for m, c in _terms(a) if c % b == 0)
        rest = tuple((m, c) for m, c in _terms(a) if c % b)
        if not rest:
            return _make(exact)
        if exact and b > 0:
            return _make(exact + _terms(_opaque("floordiv", _make(rest), b)))
        return _opaque("floordiv", a, b)
    if a == b:
        return 1
    quotient = _exact_quotient(a, b)
    return quotient if quotient is not None else _opaque("floordiv", a, b)


def _exact_quotient(a: Dim, b: Dim) -> Dim | None:
    """``a / b`` for a single-monomial ``b`` that divides every monomial of ``a``."""
    if not isinstance(b, Sym) or len(b.terms) != 1:
        return None
    (divisor, coef) = b.terms[0]
    out: list[tuple[Monomial, int]] = []
    for mono, c in _terms(a):
        left = list(mono)
        for atom in divisor:
            if atom not in left:
                return None
            left.remove(atom)
        if c % coef:
            return None
        out.append((tuple(left), c // coef))
    return _make(tuple(out))


def ceildiv(a: Dim, b: Dim) -> Dim:
    """``ceil(a / b)`` for positive ``b``."""
    return floordiv(a + b - 1, b)


def dim_max(a: Dim, b: Dim) -> Dim:
    if a == b:
        return a
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    diff = a - b
    if isinstance(diff, int):
        return a if diff >= 0 else b
    return _opaque("max", a, b)


def dim_min(a: Dim, b: Dim) -> Dim:
    if a == b:
        return a
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    diff = a - b
    if isinstance(diff, int):
        return b if diff >= 0 else a
    return _opaque("min", a, b)


_EVAL: dict[str, Callable[[int, int], int]] = {
    "floordiv": operator.floordiv, "mul": operator.mul, "min": min, "max": max,
}  # fmt: skip
_REBUILD: dict[str, Callable[[Dim, Dim], Dim]] = {
    "floordiv": floordiv, "mul": lambda a, b: a * b, "min": dim_min, "max": dim_max,
}  # fmt: skip


def substitute(d: Dim | None, binding: Mapping[str, Dim]) -> Dim | None:
    """``d`` with names replaced by what ``binding`` gives; names that it lacks stay."""
    if d is None or isinstance(d, int):
        return d
    out: Dim = 0
    for mono, coef in d.terms:
        term: Dim = coef
        for atom in mono:
            term = term * _substitute_atom(atom, binding)
        out = out + term
    return out


def _substitute_atom(atom: Atom, binding: Mapping[str, Dim]) -> Dim:
    if isinstance(atom, str):
        found = binding.get(atom)
        return sym(atom) if found is None else found
    args = [substitute(a, binding) for a in atom.args]
    assert all(a is not None for a in args)
    left, right = args
    return _REBUILD[atom.name](left, right)  # type: ignore[arg-type]


def product(dims: Sequence[Dim]) -> Dim:
    out: Dim = 1
    for d in dims:
        out = out * d
    return out


def _atom_text(atom: Atom) -> str:
    if isinstance(atom, Fn):
        return str(atom)
    return atom if atom.isidentifier() and atom not in ("min", "max") else repr(atom)


def format_shape(shape: Shape) -> str:
    """``[N,3,224,?]``"""
    return "[" + ",".join("?" if d is None else str(d) for d in shape) + "]"


def parse_dim(text: str) -> Dim | None:
    """Reads what ``str(dim)`` prints; ``?`` is None. ValueError when it cannot be read."""
    text = text.strip()
    if text == "?":
        return None
    try:
        return _from_ast(ast.parse(text, mode="eval").body, 0)
    except (SyntaxError, RecursionError) as e:
        raise ValueError(f"not a dim: {text!r}") from e


_BINOPS: dict[type[ast.operator], Callable[[Dim, Dim], Dim]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: floordiv, ast.Mod: lambda a, b: a % b,
}  # fmt: skip


def _from_ast(node: ast.expr, depth: int) -> Dim:
    if depth > _MAX_DEPTH * 4:
        raise ValueError("dim expression is nested too deeply")
    match node:
        case ast.Constant(value=int() as number):
            return int(number)
        case ast.Constant(value=str() as name) | ast.Name(id=name):
            return sym(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _from_ast(operand, depth + 1) * -1
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINOPS:
            return _BINOPS[type(op)](_from_ast(left, depth + 1), _from_ast(right, depth + 1))
        case ast.Call(func=ast.Name(id="min" | "max" as fn), args=[a, b]):
            return _REBUILD[fn](_from_ast(a, depth + 1), _from_ast(b, depth + 1))
    raise ValueError(f"not a dim: {ast.dump(node)}")
