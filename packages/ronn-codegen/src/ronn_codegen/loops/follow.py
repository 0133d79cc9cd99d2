"""NumPy functions as loops: a function is called on stand-ins for its arrays, and what it does to them is written down.

    expression = follow(lambda x: x / (1 + np.abs(x)), ["f32"])

Stand-ins take part in NumPy's ufuncs, ``np.where``, ``np.clip``, reductions along the last axis, and operators;
types come out as NumPy has them. ``NotLowered`` tells what a loop cannot do: indexing, shapes, branches on values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from ronn_codegen.loops.language import ELEMENTARY, FLOATS, HALVES
from ronn_codegen.loops.pointwise import NotLowered
from ronn_codegen.loops.rows import Row
from ronn_codegen.loops.write import Value, where

_DTYPES: dict[str, np.dtype] = {
    "f32": np.dtype(np.float32), "f64": np.dtype(np.float64), "bool": np.dtype(np.bool_),
    **{f"{s}{b}": np.dtype(f"{'u' if s == 'u' else ''}int{b}") for s in "iu" for b in (8, 16, 32, 64)},
}  # fmt: skip
_NAMES = {d: n for n, d in _DTYPES.items()}
_NAMES[np.dtype(np.float16)] = "f32"  # halves are computed as float32 and rounded when they are stored

_SAME = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "negative": "neg",
    "absolute": "abs", "fabs": "abs", "maximum": "max", "minimum": "min", "less": "lt", "less_equal": "le",
    "equal": "eq", "not_equal": "ne", "bitwise_and": "and", "bitwise_or": "or", "bitwise_xor": "xor", "invert": "not",
    "logical_and": "and", "logical_or": "or", "logical_xor": "xor", "logical_not": "not", "left_shift": "shl",
    "right_shift": "shr", "isnan": "isnan", "copysign": "copysign", "power": "pow", "float_power": "pow",
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "sqrt": "sqrt", "tanh": "tanh", "sin": "sin",
    "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sinh": "sinh", "cosh": "cosh",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "floor": "floor", "ceil": "ceil", "rint": "rint",
    "trunc": "trunc", "erf": "erf", "expit": "sigmoid",
}  # fmt: skip
_SWAPPED = {"greater": "lt", "greater_equal": "le"}
_WHOLE = frozenset({"floor", "ceil", "rint", "trunc"})  # on integers these do nothing
_LOGICAL = frozenset({"logical_and", "logical_or", "logical_xor", "logical_not"})


class Followed:
    """What stands for an array: an expression over the elements of the arguments.

    ``row``: one value for each row (behind a reduction); ``kept``: that has kept its axis, so that it broadcasts with
    elements. ``depth``: how many reductions, one on another, it takes.
    """

    __slots__ = ("args", "depth", "kept", "name", "number", "op", "row")
    __array_priority__ = 1000

    def __init__(
        self,
        op: str,
        name: str,
        args: Sequence[Followed] = (),
        number: Any = None,
        row: bool | None = None,
        kept: bool = True,
    ) -> None:
        self.op, self.name, self.number = op, name, number
        self.args: tuple[Followed, ...] = tuple(args)
        self.row: bool = all(a.row or a.op == "const" for a in args) and bool(args) if row is None else row
        self.kept = kept
        self.depth: int = max((a.depth for a in args), default=0) + (op in _REDUCTIONS)
        rows = {a.kept for a in args if a.row and a.op != "const"}
        if op not in _REDUCTIONS and rows:
            if len(rows) > 1 or (False in rows and not self.row):
                raise NotLowered("a reduction without keepdims=True meets elements or others with it")
            self.kept = rows.pop()

    @property
    def dtype(self) -> np.dtype:
        return _DTYPES[self.name]

    def astype(self, dtype: Any, **_: Any) -> Followed:
        return _cast(self, _name_of(np.dtype(dtype)))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "reduce":
            found = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}.get(ufunc.__name__)
            if found is None:
                raise NotLowered(f"{ufunc.__name__}.reduce")
            return _METHODS[found](inputs[0], **{k: v for k, v in kwargs.items() if k in ("axis", "keepdims")})
        if method != "__call__" or any(v is not None and k != "casting" for k, v in kwargs.items()):
            raise NotLowered(f"{ufunc.__name__} with {', '.join(kwargs) or method}")
        return _ufunc(ufunc, inputs)

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        found = _FUNCTIONS.get(func.__name__)
        if found is None:
            raise NotLowered(f"numpy.{func.__name__}")
        return found(*args, **kwargs)

    # --- what a loop has not got

    def __bool__(self) -> NoReturn:
        raise NotLowered("a branch on values: numpy.where chooses element by element")

    def __getattr__(self, name: str) -> Any:
        method = _METHODS.get(name)
        if method is None:
            raise NotLowered(f".{name} of an array")
        return lambda *args, **kwargs: method(self, *args, **kwargs)

    def __pos__(self) -> Followed:
        return self

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotLowered("indexing, lengths and conversions of arrays")

    __getitem__ = __setitem__ = __len__ = __iter__ = __float__ = __int__ = __index__ = __array__ = __matmul__ = _refuse
    __hash__ = object.__hash__


def _operator(name: str, ufunc: np.ufunc) -> None:
    setattr(Followed, f"__{name}__", lambda a, b: _ufunc(ufunc, (a, b)))
    setattr(Followed, f"__r{name}__", lambda a, b: _ufunc(ufunc, (b, a)))


_Named = dict[str, np.ufunc]
_TWICE: _Named = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "pow": np.power,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "lshift": np.left_shift,
    "rshift": np.right_shift, "floordiv": np.floor_divide, "mod": np.remainder,
}  # fmt: skip
_COMPARED: _Named = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
_ONE: _Named = {"neg": np.negative, "abs": np.absolute, "invert": np.invert}
for _n, _u in _TWICE.items():
    _operator(_n, _u)
for _n, _u in _COMPARED.items():
    setattr(Followed, f"__{_n}__", lambda a, b, _u=_u: _ufunc(_u, (a, b)))
for _n, _u in _ONE.items():
    setattr(Followed, f"__{_n}__", lambda a, _u=_u: _ufunc(_u, (a,)))


def _name_of(dtype: np.dtype) -> str:
    if dtype not in _NAMES:
        raise NotLowered(f"elements of type {dtype}")
    return _NAMES[dtype]


def _const(number: Any, name: str) -> Followed:
    return Followed("const", name, (), number, row=True)


def _cast(x: Followed, name: str) -> Followed:
    if x.name == name:
        return x
    if name == "bool":
        return Followed("ne", "bool", (x, _const(0, x.name)))
    return _const(x.number, name) if x.op == "const" else Followed("cast", name, (x,))


def _lift(value: Any, name: str) -> Followed:
    """A value as an operand of type ``name``."""
    if isinstance(value, Followed):
        return _cast(value, name)
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf" or array.ndim:
        raise NotLowered(f"a constant {array.dtype}{list(array.shape)} (only numbers can stand in loops)")
    return _const(array.item(), name)


def _typed(value: Any) -> Any:
    """What NumPy resolves types by: numbers of Python's give way."""
    if isinstance(value, Followed):
        return value.dtype
    if isinstance(value, bool):
        return np.dtype(np.bool_)
    if isinstance(value, (int, float)) and not isinstance(value, np.generic):
        return type(value)
    return np.asarray(value).dtype


def _ufunc(ufunc: np.ufunc, inputs: Sequence[Any]) -> Followed:
    name = ufunc.__name__
    try:
        resolved = ufunc.resolve_dtypes((*map(_typed, inputs), *[None] * ufunc.nout))
    except TypeError as e:
        raise NotLowered(f"{name}: {e}") from None
    *taken, result = map(_name_of, resolved)
    if name in _LOGICAL:
        taken = ["bool"] * len(taken)
    args = [_lift(v, t) for v, t in zip(inputs, taken, strict=True)]
    special = _SPECIAL.get(name)
    if special is not None:
        return special(*args)
    if name in _WHOLE and args[0].name not in FLOATS:
        return args[0]
    if name in _SWAPPED:
        return Followed(_SWAPPED[name], result, args[::-1])
    op = _SAME.get(name)
    if op is None:
        raise NotLowered(f"the ufunc {name}")
    if op == "pow":
        return _power(*args)
    return Followed(op, result, args)


def _power(x: Followed, y: Followed) -> Followed:
    if y.op == "const" and y.number == 2:
        return Followed("mul", x.name, (x, x))
    if x.name not in FLOATS:
        raise NotLowered("a power of integers")
    return Followed("pow", x.name, (x, y))


def _sign(x: Followed) -> Followed:
    zero, one = _const(0, x.name), _const(1, x.name)
    least = zero if x.name.startswith("u") else _const(-1, x.name)
    made = _where(Followed("lt", "bool", (zero, x)), one, _where(Followed("lt", "bool", (x, zero)), least, zero))
    return _where(Followed("isnan", "bool", (x,)), x, made) if x.name in FLOATS else made


def _infinite(x: Followed) -> Followed:
    return Followed("eq", "bool", (Followed("abs", x.name, (x,)), _const(math.inf, x.name)))


_SPECIAL: dict[str, Callable[..., Followed]] = {
    "square": lambda x: Followed("mul", x.name, (x, x)),
    "reciprocal": lambda x: Followed("div", x.name, (_const(1, x.name), x)),
    "sign": _sign,
    "positive": lambda x: x,
    "isinf": _infinite,
    "isfinite": lambda x: Followed("lt", "bool", (Followed("abs", x.name, (x,)), _const(math.inf, x.name))),
    "log2": lambda x: Followed("mul", x.name, (Followed("log", x.name, (x,)), _const(1 / math.log(2), x.name))),
    "log10": lambda x: Followed("mul", x.name, (Followed("log", x.name, (x,)), _const(1 / math.log(10), x.name))),
}


def _where(condition: Any, yes: Any, no: Any) -> Followed:
    name = _name_of(np.result_type(*[v.dtype if isinstance(v, Followed) else v for v in (yes, no)]))
    return Followed("select", name, (_lift(condition, "bool"), _lift(yes, name), _lift(no, name)))


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    if low is not None:
        x = _ufunc(np.maximum, (x, low))
    return x if high is None else _ufunc(np.minimum, (x, high))


def _round(x: Followed, decimals: int = 0) -> Followed:
    if decimals:
        raise NotLowered("rounding to decimals")
    return _ufunc(np.rint, (x,)) if x.name in FLOATS else x


def _filled(number: Any) -> Callable[..., Followed]:
    return lambda x, dtype=None: _const(number, x.name if dtype is None else _name_of(np.dtype(dtype)))


# --- reductions

_REDUCTIONS = frozenset({"sum", "prod", "largest", "smallest", "argmax", "argmin"})


def _along_last(x: Followed, axis: Any) -> None:
    if axis not in (-1, (-1,)):
        raise NotLowered(f"a reduction along axis {axis}: loops reduce along axis=-1")
    if x.row:
        raise NotLowered("a reduction of what has been reduced")


def _reduction(op: str) -> Callable[..., Followed]:
    def reduce(x: Followed, axis: Any = None, keepdims: bool = False) -> Followed:
        _along_last(x, axis)
        name = x.name
        if op in ("sum", "prod") and name not in FLOATS:
            name = "u64" if name.startswith("u") else "i64"
        if name == "bool":
            raise NotLowered("the largest of bools")
        position = op.startswith("arg")
        return Followed(op, "i64" if position else name, (_cast(x, name),), row=True, kept=bool(keepdims))

    return reduce


_sum = _reduction("sum")


def _mean(x: Followed, axis: Any = None, keepdims: bool = False) -> Followed:
    x = x if x.name in FLOATS else _cast(x, "f64")
    total = _sum(x, axis, keepdims)
    count = Followed("count", "i64", (), row=True, kept=total.kept)
    return Followed("div", x.name, (total, Followed("cast", x.name, (count,))))


def _variance(x: Followed, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Followed:
    if ddof:
        raise NotLowered("ddof")
    x = x if x.name in FLOATS else _cast(x, "f64")
    d = _ufunc(np.subtract, (x, _mean(x, axis, True)))
    return _mean(Followed("mul", x.name, (d, d)), axis, keepdims)


def _deviation(x: Followed, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Followed:
    return _ufunc(np.sqrt, (_variance(x, axis, keepdims, ddof),))


def _norm(x: Followed, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Followed:
    if ord not in (None, 2):
        raise NotLowered(f"a norm of order {ord}")
    return _ufunc(np.sqrt, (_sum(Followed("mul", x.name, (x, x)), axis, keepdims),))


_METHODS: dict[str, Callable[..., Any]] = {
    "sum": _sum, "prod": _reduction("prod"), "max": _reduction("largest"), "min": _reduction("smallest"),
    "mean": _mean, "var": _variance, "std": _deviation, "argmax": _reduction("argmax"), "argmin": _reduction("argmin"),
    "clip": _clip, "round": _round, "copy": lambda x: x,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_METHODS, "amax": _METHODS["max"], "amin": _METHODS["min"], "where": _where, "norm": _norm, "around": _round,
    "zeros_like": _filled(0), "ones_like": _filled(1),
    "full_like": lambda x, fill_value, dtype=None: _filled(fill_value)(x, dtype),
}  # fmt: skip


# --- following, and writing


def follow(
    fn: Callable[..., Any], dtypes: Sequence[str | None], attributes: Mapping[str, Any] | None = None
) -> Followed:
    """What ``fn`` does to the elements of arrays of these types (None: it gets None). NotLowered, with the reason."""
    given = [
        None if d is None else Followed("input", "f32" if d in HALVES else d, (), i, row=False)
        for i, d in enumerate(dtypes)
    ]
    if any(g is not None and g.name not in _DTYPES for g in given):
        raise NotLowered(f"elements of type {', '.join(str(d) for d in dtypes)}")
    try:
        found = fn(*given, **(attributes if attributes is not None else {}))
    except NotLowered:
        raise
    except Exception as e:
        raise NotLowered(f"it cannot be followed: {type(e).__name__}: {e}") from e
    if not isinstance(found, Followed):
        raise NotLowered(f"it gives {type(found).__name__}, which hangs on no input")
    return found


def _nodes(expression: Followed, known: Container[int] = ()) -> Iterator[Followed]:
    """The expression and everything that it is made of, operands first, each once; but for ``known`` ids, and what
    those are made of."""
    seen: set[int] = set()
    stack = [(expression, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif id(node) not in seen and id(node) not in known:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(a, False) for a in node.args]


def write_element(expression: Followed, load: Callable[[int], Value]) -> Value:
    """The value of an expression without reductions; ``load`` gives the element of an argument."""
    reduced = next((n for n in _nodes(expression) if n.op in _REDUCTIONS), None)
    if reduced is not None:
        raise NotLowered(f"{reduced.op} along an axis: loop='rows' is for such functions")
    return _Writing(load).value(expression)


class _Writing:
    """One section: what has been written in it. ``known``: values of rows, from earlier sections."""

    def __init__(self, load: Callable[[int], Value], known: dict[int, Value] | None = None) -> None:
        self.load = load
        self.known = {} if known is None else dict(known)
        self.any: Value | None = None

    def value(self, expression: Followed) -> Value:
        if expression.op == "const":
            raise NotLowered("a result that is the same for all elements")
        for node in _nodes(expression, self.known):
            if node.op != "const":
                self.known[id(node)] = self.any = self._write(node)
        return self.known[id(expression)]

    def _write(self, node: Followed) -> Value:
        if node.op == "input":
            return self.load(node.number)
        like = next((self.known[id(a)] for a in node.args if a.op != "const"), self.any)
        if like is None:
            raise NotLowered("an operation on numbers alone")
        args = [like.writer.const(a.number, a.name) if a.op == "const" else self.known[id(a)] for a in node.args]
        if node.op == "count":
            return like.writer.count()
        if node.op == "cast":
            return args[0].cast(node.name)
        if node.op == "select":
            return where(*args)
        return args[0].do(node.op, *args[1:])


def reduces_rows(expression: Followed) -> bool:
    """Whether it gives one value a row, not one an element."""
    return expression.row


def write_rows(expression: Followed, r: Row) -> None:
    """Writes an expression with reductions along rows: a section for those on elements, one for those on what these
    give, and so on, then one for the result."""
    nodes = list(_nodes(expression))
    known: dict[int, Value] = {}
    kept: Followed | None = None

    def load(index: int) -> Value:
        found = r.x() if index == 0 else r.param(index)
        if found is None:
            raise NotLowered(f"input {index} is omitted")
        return found

    worth_it = None if expression.row else _worth_keeping(expression, nodes)
    for depth in range(1, expression.depth + 1):
        with r.each():
            section = _Writing(load, known)
            found = {id(n): r.reduce(n.op, section.value(n.args[0])) for n in nodes if _is_reduction(n, depth)}
            if depth == expression.depth and worth_it is not None and r.keep(section.value(worth_it)):
                kept = worth_it
        known.update(found)
        behind = [n for n in nodes if n.row and n.depth == depth and n.op not in _REDUCTIONS and n.op != "const"]
        if behind:
            with r.row():
                section = _Writing(load, known)
                section.any = next(iter(found.values()), None)
                for n in behind:
                    section.value(n)
            known.update({id(n): section.known[id(n)] for n in behind})
    if expression.row:
        with r.row():
            r.finish(known[id(expression)])
        return
    with r.each():
        if kept is not None:
            known[id(kept)] = r.kept()
        r.finish(_Writing(load, known).value(expression))


def _is_reduction(node: Followed, depth: int) -> bool:
    return node.op in _REDUCTIONS and node.depth == depth


def _worth_keeping(expression: Followed, nodes: Sequence[Followed]) -> Followed | None:
    """What the last reduction takes that is slow to compute, if the result needs it again and no element besides."""
    last = [n.args[0] for n in nodes if n.op in _REDUCTIONS and n.depth == expression.depth]
    inside = {id(n): n for x in last for n in _nodes(x)}
    shared = [n for n in _outer(expression, inside) if n.op != "input" and not n.row]
    if len(shared) == 1 and any(n.op in ELEMENTARY for n in _nodes(shared[0])) and shared[0].name in FLOATS:
        return shared[0]
    return None


def _outer(expression: Followed, inside: Mapping[int, Followed]) -> list[Followed]:
    """The largest parts of an expression that are ``inside``, and inputs that stand outside of those."""
    found: dict[int, Followed] = {}
    stack, seen = [expression], set()
    while stack:
        node = stack.pop()
        if id(node) in seen or node.op in _REDUCTIONS:
            continue
        seen.add(id(node))
        if node.op != "const" and not node.row and (id(node) in inside or node.op == "input"):
            found[id(node)] = node
        else:
            stack += node.args
    return list(found.values())
