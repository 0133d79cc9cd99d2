"""Symbolic dimensions: integers, or integer polynomials over named sizes.

``N``, ``2*N+1``, ``(H+1)//2`` are dims. A ``Sym`` is kept in a canonical form (sorted monomials with integer
coefficients), so that two equal polynomials are equal objects. Division, minimum and maximum are opaque atoms
unless they can be resolved. Named sizes are never negative.

Expressions are bounded: one that grows past the bounds below becomes a name of its own, ``big_`` and a digest of
its text, which stands for a size that is not known but equal wherever the same expression occurs.
"""

from __future__ import annotations

import ast
import hashlib
import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Union

from ronn.records import dataclass

_MAX_TERMS = 64
_MAX_DEPTH = 12  # of opaque functions inside each other
_MAX_DEGREE = 16
_MAX_COEFFICIENT = 2**63 - 1
_MAX_TEXT = 4096  # characters; of a printed dim, and of one to parse


@dataclass(frozen=True, slots=True)
class Fn:
    """An opaque integer function of two dims: ``floordiv``, ``min`` or ``max``."""

    name: str
    args: tuple[Dim, ...]

    def __str__(self) -> str:
        if self.name == "floordiv":
            left, right = (f"({a})" if isinstance(a, Sym) and not a.is_name else str(a) for a in self.args)
            return f"({left}//{right})"
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
        others = _terms(other)
        if len(self.terms) * len(others) > _MAX_TERMS**2:
            return _named("*".join(sorted((str(self), str(other)))))
        return _make(
            tuple((tuple(sorted(m1 + m2, key=_atom_key)), c1 * c2) for m1, c1 in self.terms for m2, c2 in others)
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


def sym(name: str) -> Sym:
    """The dim called ``name``."""
    return Sym((((name,), 1),))


def _terms(d: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(d, Sym):
        return d.terms
    return (((), int(d)),) if d else ()


def _atom_key(atom: Atom) -> tuple[bool, str]:
    return (isinstance(atom, Fn), str(atom))


def _make(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for mono, coef in terms:
        total[mono] = total.get(mono, 0) + coef
    kept = [(m, c) for m, c in total.items() if c]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    if len(kept) > 1:
        kept.sort(key=lambda t: (-len(t[0]), [_atom_key(a) for a in t[0]]))
    made = Sym(tuple(kept))
    if len(kept) > _MAX_TERMS or any(len(m) > _MAX_DEGREE or abs(c) > _MAX_COEFFICIENT for m, c in kept):
        return _named(str(made))
    return made


def _named(text: str) -> Sym:
    """The name that stands for an expression which is too large to keep."""
    return sym("big_" + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest())


def _opaque(name: str, a: Dim, b: Dim) -> Dim:
    if name != "floordiv" and str(b) < str(a):
        a, b = b, a
    atom = Fn(name, (a, b))
    if atom.depth() > _MAX_DEPTH:
        return _named(str(atom))
    text = str(atom)
    return _named(text) if len(text) > _MAX_TEXT else Sym((((atom,), 1),))


def floordiv(a: Dim, b: Dim) -> Dim:
    """``a // b``, rounded down, as simple as it gets. ZeroDivisionError where both are ints and ``b`` is 0."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if isinstance(b, int) and b > 0:
        return _floordiv_int(a, b)
    if a == b:
        return 1
    quotient = None if isinstance(b, int) else _exact_quotient(a, b)
    return quotient if quotient is not None else _opaque("floordiv", a, b)


def _floordiv_int(a: Dim, b: int) -> Dim:
    # a = b * whole + rest with the coefficients of rest in [0, b), so a // b = whole + rest // b.
    whole = _make((m, c // b) for m, c in _terms(a))
    rest = _make((m, c % b) for m, c in _terms(a))
    if isinstance(rest, int):
        return whole
    for mono, coef in rest.terms:
        inner = mono[0] if len(mono) == 1 and coef == 1 else None
        if isinstance(inner, Fn) and inner.name == "floordiv" and isinstance(inner.args[1], int) and inner.args[1] > 0:
            # (p // m + q) // b = (p + m * q) // (m * b)
            p, m = inner.args[0], inner.args[1]
            others = _make(t for t in rest.terms if t[0] != mono)
            if m * b <= _MAX_COEFFICIENT:
                return whole + floordiv(p + others * m, m * b)
    return whole + _opaque("floordiv", rest, b)


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


def dim_broadcast(a: Dim, b: Dim) -> Dim | None:
    """What two symbolic dims broadcast to; None where nothing tells.

    ``min(k, n)`` with k > 1 is 1 only where n is: beside n it is n (where it is not, the two do not broadcast).
    """
    for capped, whole in ((a, b), (b, a)):
        if isinstance(capped, Sym) and capped.is_name:
            atom = capped.terms[0][0][0]
            if isinstance(atom, Fn) and atom.name == "min" and whole in atom.args:
                other = atom.args[1] if atom.args[0] == whole else atom.args[0]
                if isinstance(other, int) and other > 1:
                    return whole
    return None


_REBUILD: dict[str, Callable[[Dim, Dim], Dim]] = {"floordiv": floordiv, "min": dim_min, "max": dim_max}


def is_nonnegative(d: Dim) -> bool:
    """Whether ``d`` is 0 or more whatever its names stand for; False where that cannot be told."""
    if isinstance(d, int):
        return d >= 0
    return all(c >= 0 and all(isinstance(a, str) or _fn_nonnegative(a) for a in m) for m, c in d.terms)


def _fn_nonnegative(fn: Fn) -> bool:
    judge = any if fn.name == "max" else all
    return judge(is_nonnegative(a) for a in fn.args)


def substitute(d: Dim | None, binding: Mapping[str, Dim]) -> Dim | None:
    """``d`` with names replaced by what ``binding`` gives; names that it lacks stay.

    ZeroDivisionError where the binding makes a divisor 0.
    """
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


_PLAIN_NAME = re.compile(r"(?!(?:min|max)$)[A-Za-z_][A-Za-z0-9_]*")


def _atom_text(atom: Atom) -> str:
    if isinstance(atom, Fn):
        return str(atom)
    return atom if _PLAIN_NAME.fullmatch(atom) and not keyword.iskeyword(atom) else repr(atom)


def format_shape(shape: Shape) -> str:
    """``[N,3,224,?]``"""
    return "[" + ",".join("?" if d is None else str(d) for d in shape) + "]"


def parse_dim(text: str) -> Dim | None:
    """Reads what ``str(dim)`` prints; ``?`` is None. ValueError when it cannot be read."""
    text = text.strip()
    if text == "?":
        return None
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    if _PLAIN_NAME.fullmatch(text) and not keyword.iskeyword(text):
        return sym(text)
    if len(text) > _MAX_TEXT * 4:
        raise ValueError(f"a dim of {len(text)} characters")
    try:
        return _from_ast(ast.parse(text, mode="eval").body, 0)
    except (SyntaxError, RecursionError, MemoryError, ZeroDivisionError, ValueError) as e:
        raise ValueError(f"not a dim: {text[:200]!r}") from e


_BINOPS: dict[type[ast.operator], Callable[[Dim, Dim], Dim]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: floordiv, ast.Mod: lambda a, b: a - floordiv(a, b) * b,
}  # fmt: skip


def _from_ast(node: ast.expr, depth: int) -> Dim:
    if depth > _MAX_TERMS * 4:
        raise ValueError("dim expression is nested too deeply")
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return number
        case ast.Constant(value=str() as name) | ast.Name(id=name):
            return sym(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _from_ast(operand, depth + 1) * -1
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINOPS:
            return _BINOPS[type(op)](_from_ast(left, depth + 1), _from_ast(right, depth + 1))
        case ast.Call(func=ast.Name(id="min" | "max" as fn), args=[a, b]):
            return _REBUILD[fn](_from_ast(a, depth + 1), _from_ast(b, depth + 1))
    raise ValueError(f"not a dim: {ast.dump(node)}")
