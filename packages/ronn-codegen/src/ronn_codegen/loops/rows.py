"""Operators on rows in the loop language: reductions, softmax, normalisations. A row is all that is reduced to one.

A rule writes the sections of a loop through ``Row``, which knows where elements come from and go to: what is fused
in front of the operator or behind it does not show here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from ronn_codegen.loops.language import FLOATS
from ronn_codegen.loops.pointwise import need
from ronn_codegen.loops.write import Value, where


class Row(Protocol):
    """What a rule writes with."""

    @property
    def op(self) -> str: ...
    @property
    def since(self) -> int: ...
    def attr(self, name: str, default: Any = None) -> Any: ...
    def each(self) -> AbstractContextManager[None]:
        """Opens a section over the elements of a row."""
        ...

    def row(self) -> AbstractContextManager[None]:
        """Opens a section that runs once a row."""
        ...

    def x(self) -> Value:
        """The input's element, in an each section."""
        ...

    def param(self, index: int) -> Value | None:
        """Another input's element; None when it is omitted."""
        ...

    def keep(self, value: Value) -> bool:
        """Keeps a value of each element for later sections, if there is room for it."""
        ...

    def kept(self) -> Value:
        """The value kept last."""
        ...

    def finish(self, value: Value) -> None:
        """The result's element: in the last each section, or for reductions in the last row section."""
        ...

    def result(self, index: int, value: Value) -> None:
        """A further output, one element a row, where it is wanted."""
        ...

    def output(self, index: int, value: Value) -> bool:
        """A further output, of the shape of the input; whether it is wanted."""
        ...

    def reload(self, index: int) -> Value:
        """The element of a further output that an earlier section has written."""
        ...

    def position(self) -> Value:
        """The position of the element in its row, i64."""
        ...

    def reduce(self, op: str, value: Value) -> Value: ...
    def count(self) -> Value:
        """Elements in a row, i64."""
        ...


Rule = Callable[[Row], None]
R = TypeVar("R", bound=Rule)
ROWS: dict[tuple[str, str], Rule] = {}
"""Rules of operators whose result has the shape of their input."""
REDUCES: dict[tuple[str, str], Rule] = {}
"""Rules of operators that leave one element of each row."""
LAST_AXIS: set[tuple[str, str]] = set()
"""Operators of these tables whose rows lie along the last axis, whatever their attributes say."""


def _mark(table: dict[tuple[str, str], Rule], ops: tuple[str, ...], domain: str) -> Callable[[R], R]:
    def mark(fn: R) -> R:
        for op in ops:
            table[domain, op] = fn
        return fn

    return mark


def rows(*ops: str, domain: str = "") -> Callable[[R], R]:
    """Marks the rule of operators that keep the shape."""
    return _mark(ROWS, ops, domain)


def reduces(*ops: str, domain: str = "") -> Callable[[R], R]:
    """Marks the rule of reductions."""
    return _mark(REDUCES, ops, domain)


# --- softmax


@rows("Softmax")
def softmax(r: Row) -> None:
    with r.each():
        peak = r.reduce("peak", r.x())  # of NaN the sum tells
    with r.each():
        e = (r.x() - peak).do("exp")
        has_room = r.keep(e)
        total = r.reduce("sum", e)
    with r.row():
        factor = 1.0 / total
    with r.each():
        r.finish((r.kept() if has_room else (r.x() - peak).do("exp")) * factor)


@rows("LogSoftmax")
def log_softmax(r: Row) -> None:
    with r.each():
        peak = r.reduce("peak", r.x())
    with r.each():
        total = r.reduce("sum", (r.x() - peak).do("exp"))
    with r.row():
        logarithm = total.do("log")
    with r.each():
        r.finish((r.x() - peak) - logarithm)


@rows("Hardmax")
def hardmax(r: Row) -> None:
    with r.each():
        x = r.x()
        best = r.reduce("argmax", x)
        dtype = x.dtype
    with r.each():
        r.finish(r.position().eq(best).cast(dtype))


# --- normalisations


def _mean(r: Row) -> Value:
    with r.each():
        total = r.reduce("sum", r.x())
    with r.row():
        return total / r.count().cast(total.dtype)


def _mean_square(r: Row, mean: Value | None) -> Value:
    """Of the distance from ``mean``, or of the elements themselves."""
    with r.each():
        d = r.x() if mean is None else r.x() - mean
        total = r.reduce("sum", d * d)
    with r.row():
        return total / r.count().cast(total.dtype)


def _scaled(r: Row, y: Value) -> Value:
    scale, bias = r.param(1), r.param(2)
    y = y if scale is None else y * scale.cast(y.dtype)
    return y if bias is None else y + bias.cast(y.dtype)


@rows("LayerNormalization", "InstanceNormalization", "GroupNormalization")
def centred_normalization(r: Row) -> None:
    mean = _mean(r)
    variance = _mean_square(r, mean)
    with r.row():
        inverse = 1.0 / (variance + float(r.attr("epsilon", 1e-5))).do("sqrt")
        if r.op == "LayerNormalization":
            r.result(1, mean)
            r.result(2, inverse)
    with r.each():
        r.finish(_scaled(r, (r.x() - mean) * inverse))


@rows("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(r: Row) -> None:
    square = _mean_square(r, None)
    with r.row():
        inverse = 1.0 / (square + float(r.attr("epsilon", 1e-5))).do("sqrt")
        if r.op == "SimplifiedLayerNormalization":
            r.result(1, inverse)
    with r.each():
        scale = r.param(1)
        y = r.x() * inverse
        r.finish(y if scale is None else y * scale.cast(y.dtype))


@rows("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain="com.microsoft")
def skip_normalization(r: Row) -> None:
    """Of x + skip (+ bias), which is output 3."""
    centred = r.op == "SkipLayerNormalization"

    def added() -> Value:
        skip, bias = r.param(1), r.param(4 if centred else 3)
        need(skip is not None, "no skip")
        total = r.x() + skip if skip is not None else r.x()
        return total if bias is None else total + bias

    with r.each():
        first = added()
        written = r.output(3, first)
        kept = not written and r.keep(first)
        total = r.reduce("sum", first if centred else first * first)

    def again() -> Value:
        return r.reload(3) if written else r.kept() if kept else added()

    with r.row():
        mean = total / r.count().cast(total.dtype)
    if centred:
        with r.each():
            d = again() - mean
            square = r.reduce("sum", d * d)
        with r.row():
            variance = square / r.count().cast(square.dtype)
    with r.row():
        inverse = 1.0 / ((variance if centred else mean) + float(r.attr("epsilon", 1e-5))).do("sqrt")
        r.result(1, mean if centred else mean * 0.0)
        r.result(2, inverse)
    with r.each():
        gamma, beta = r.param(2), r.param(3) if centred else None
        y = (again() - mean if centred else again()) * inverse
        y = y if gamma is None else y * gamma
        r.finish(y if beta is None else y + beta)


@rows("MeanVarianceNormalization")
def mean_variance_normalization(r: Row) -> None:
    mean = _mean(r)
    variance = _mean_square(r, mean)
    with r.row():
        inverse = 1.0 / (variance.do("sqrt") + 1e-9)
    with r.each():
        r.finish((r.x() - mean) * inverse)


@rows("LpNormalization")
def lp_normalization(r: Row) -> None:
    with r.each():
        x = r.x()
        total = r.reduce("sum", abs(x) if r.attr("p", 2) == 1 else x * x)
    with r.row():
        norm = total if r.attr("p", 2) == 1 else total.do("sqrt")
        divisor = where(norm.eq(0.0), norm.const(1.0), norm)
    with r.each():
        r.finish(r.x() / divisor)


# --- reductions

_PLAIN = {"ReduceSum": "sum", "ReduceProd": "prod", "ReduceMax": "largest", "ReduceMin": "smallest"}


@reduces(*_PLAIN)
def plain(r: Row) -> None:
    with r.each():
        x = r.x()
        is_bool = x.dtype == "bool"
        need(not is_bool or r.op in ("ReduceMax", "ReduceMin"), f"{r.op} of bool")
        total = r.reduce(_PLAIN[r.op], x.cast("u8") if is_bool else x)
    with r.row():
        r.finish(total)


@reduces("ReduceMean")
def mean(r: Row) -> None:
    with r.each():
        x = r.x()
        need(x.is_float, "a mean of integers")
        total = r.reduce("sum", x)
    with r.row():
        r.finish(total / r.count().cast(total.dtype))


@reduces("ReduceL1")
def l1(r: Row) -> None:
    with r.each():
        total = r.reduce("sum", abs(r.x()))
    with r.row():
        r.finish(total)


@reduces("ReduceL2", "ReduceSumSquare")
def l2(r: Row) -> None:
    with r.each():
        x = r.x()
        need(x.is_float or r.op == "ReduceSumSquare", f"{r.op} of integers")
        total = r.reduce("sum", x * x)
    with r.row():
        r.finish(total.do("sqrt") if r.op == "ReduceL2" else total)


@reduces("ReduceLogSum")
def log_sum(r: Row) -> None:
    with r.each():
        x = r.x()
        need(x.is_float, f"{r.op} of integers")
        total = r.reduce("sum", x)
    with r.row():
        r.finish(total.do("log"))


@reduces("ReduceLogSumExp")
def log_sum_exp(r: Row) -> None:
    with r.each():
        x = r.x()
        need(x.dtype in FLOATS, f"{r.op} of integers")
        peak = r.reduce("largest", x)
    with r.row():
        # Of an infinite peak only the sum tells.
        shift = where(abs(peak).eq(float("inf")) | peak.do("isnan"), peak.const(0.0), peak)
    with r.each():
        total = r.reduce("sum", (r.x() - shift).do("exp"))
    with r.row():
        r.finish(total.do("log") + shift)


@reduces("ArgMax", "ArgMin")
def arg(r: Row) -> None:
    side = "last" if r.attr("select_last_index", 0) else "arg"
    with r.each():
        at = r.reduce(side + r.op[3:].lower(), r.x())
    with r.row():
        r.finish(at)
