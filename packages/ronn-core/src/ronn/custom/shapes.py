"""Shape rules: what the outputs of an operator are, from what its inputs are.

A rule is a text, ``"T[..., N, M], T[M] -> T[..., N]"``, or a function of the inputs' types. In a text

* a name in capitals (``T``) is a type variable: the same element type wherever it stands; ``f32``, ``float32``,
  ``int64`` are element types;
* a name (``N``) is a dim, the same wherever it stands; a number is that size; ``?`` is any; expressions (``2*N + 1``,
  ``N // 2``, ``min(N, M)``) may stand in outputs;
* ``...`` is any number of dims; those of several inputs broadcast;
* ``T`` without brackets has any shape; a ``*`` before the last input is for one that is variadic.

A dim of an output that no input tells (``T[N] -> i64[K]``) is found out when the model runs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import OptionError, RonnError, nearest
from ronn.ir.dims import Dim, Sym, parse_dim, substitute
from ronn.ir.types import DType, TensorType, Type
from ronn.ops.infer import InferContext
from ronn.ops.rules.common import broadcast, unify
from ronn.records import dataclass

_OPERAND = re.compile(r"\s*(\*)?\s*([A-Za-z_]\w*)\s*(?:\[(.*)\])?\s*$")
_VARIABLE = re.compile(r"[A-Z]\w*")

Rule = Callable[[InferContext, Mapping[str, Any]], None]
"""Gives the outputs of a node their types; the mapping holds its attributes, defaults among them."""


@dataclass(frozen=True, slots=True)
class Operand:
    """``T[..., N]``: element type (a DType or the name of a variable), dims before and behind ``...`` (``after`` None:
    there is none), whether it is variadic. ``before`` None: any shape."""

    dtype: DType | str
    before: tuple[Dim | None, ...] | None
    after: tuple[Dim | None, ...] | None = None
    variadic: bool = False

    @property
    def type_text(self) -> str:
        """As schemas write it: the variable, or ``tensor(float)``."""
        return self.dtype if isinstance(self.dtype, str) else f"tensor({self.dtype.onnx_name})"


@dataclass(frozen=True, slots=True)
class TextRule:
    """A rule that was written as text."""

    text: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]

    def __call__(self, c: InferContext, attributes: Mapping[str, Any]) -> None:
        found = _Binding(c)
        for i, value in enumerate(c.node.inputs):
            if value is not None:
                found.take(i, self.inputs[min(i, len(self.inputs) - 1)])
        for i in range(len(c.node.outputs)):
            c.set_type(i, found.give(self.outputs[min(i, len(self.outputs) - 1)]))

    @property
    def variables(self) -> list[str]:
        """Names of the type variables, in order."""
        return list(dict.fromkeys(o.dtype for o in (*self.inputs, *self.outputs) if isinstance(o.dtype, str)))


class _Binding:
    """What the symbols of a rule stand for at one node."""

    def __init__(self, c: InferContext) -> None:
        self.c = c
        self.dtypes: dict[str, DType] = {}
        self.dims: dict[str, Dim] = {}
        self.rest: tuple[Dim | None, ...] | None = ()
        self.conditions: list[tuple[int, Dim, Dim]] = []

    def take(self, index: int, operand: Operand) -> None:
        c = self.c
        where = f"input {index} of {c.node.op_id}"
        dtype, shape = c.dtype(index), c.shape(index)
        if dtype is not None:
            wanted = operand.dtype if isinstance(operand.dtype, DType) else self.dtypes.setdefault(operand.dtype, dtype)
            if wanted is not dtype:
                raise c.fail(
                    f"{where} is {dtype}, where {wanted} was expected (the shape rule says {operand.type_text})"
                )
        if operand.before is None:
            return
        if shape is None:
            if operand.after is not None:
                self.rest = None
            return
        before, after = operand.before, operand.after
        fixed = len(before) + len(after if after is not None else ())
        if len(shape) < fixed or (after is None and len(shape) > fixed):
            least = "at least " if after is not None else ""
            raise c.fail(f"{where} has {len(shape)} dims, the shape rule asks for {least}{fixed}")
        for pattern, given in zip(before, shape, strict=False):
            self._fit(index, pattern, given)
        if after is not None:
            behind = len(shape) - len(after)
            for pattern, given in zip(after, shape[behind:], strict=True):
                self._fit(index, pattern, given)
            self.rest = broadcast(c, self.rest, shape[len(before) : behind])

    def _fit(self, index: int, pattern: Dim | None, given: Dim | None) -> None:
        if pattern is None or given is None:
            return
        what = f"sizes of {pattern} in the inputs of {self.c.node.op_id}"
        if isinstance(pattern, Sym) and pattern.is_name:
            name = str(pattern)
            found = unify(self.c, self.dims.get(name), given, what)
            assert found is not None
            self.dims[name] = found
        else:
            told = substitute(pattern, self.dims)
            if isinstance(told, int):
                unify(
                    self.c, told, given, f"sizes in input {index} of {self.c.node.op_id} ({pattern} in the shape rule)"
                )

    def give(self, operand: Operand) -> TensorType:
        dtype = operand.dtype if isinstance(operand.dtype, DType) else self.dtypes.get(operand.dtype)
        if operand.before is None:
            return TensorType(dtype, None)
        before = tuple(self._told(d) for d in operand.before)
        if operand.after is None:
            return TensorType(dtype, before)
        if self.rest is None:
            return TensorType(dtype, None)
        return TensorType(dtype, (*before, *self.rest, *(self._told(d) for d in operand.after)))

    def _told(self, pattern: Dim | None) -> Dim | None:
        if not isinstance(pattern, Sym):
            return pattern
        return substitute(pattern, self.dims) if pattern.names() <= self.dims.keys() else None


def parse_rule(text: str, inputs: int, outputs: int, variadic: bool) -> TextRule:
    """A rule from its text. OptionError, with what is wrong, for one that cannot be read or does not fit the signature.

    variadic: whether the function takes any number of inputs.
    """
    left, arrow, right = text.partition("->")
    if not arrow:
        raise OptionError(f"shape={text!r} has no '->'", hint="for example: shape='T[N, M], T[M] -> T[N]'")
    taken, given = ([_operand(part, text) for part in _split(side)] for side in (left, right))
    if len(taken) != inputs:
        raise OptionError(f"shape={text!r} has {len(taken)} inputs, the function {inputs}")
    if len(given) != outputs:
        raise OptionError(
            f"shape={text!r} has {len(given)} outputs, the function {outputs}", hint=f"outputs={len(given)}, perhaps?"
        )
    if any(o.variadic for o in (*taken[:-1], *given)) or (bool(taken) and taken[-1].variadic != variadic):
        raise OptionError(f"shape={text!r}: a * stands before the last input, where the function takes *args")
    return TextRule(text, tuple(taken), tuple(given))


def _split(side: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, character in enumerate(side):
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            parts.append(side[start:i])
            start = i + 1
    last = side[start:]
    return [*parts, last] if last.strip() or parts else []


def _operand(text: str, whole: str) -> Operand:
    found = _OPERAND.match(text)
    if found is None:
        raise OptionError(f"shape={whole!r}: {text.strip()!r} is no type", hint="for example T[N, 3], f32[...], i64[]")
    star, name, dims = found.groups()
    dtype = name if _VARIABLE.fullmatch(name) else dtype_named(name)
    if dims is None:
        return Operand(dtype, None, None, bool(star))
    parts = [p.strip() for p in _split(dims)]
    if parts.count("...") > 1:
        raise OptionError(f"shape={whole!r}: {text.strip()!r} has more than one '...'")
    cut = parts.index("...") if "..." in parts else None
    before, after = (parts, None) if cut is None else (parts[:cut], parts[cut + 1 :])
    return Operand(dtype, _dims(before, whole), None if after is None else _dims(after, whole), bool(star))


def _dims(parts: Sequence[str], whole: str) -> tuple[Dim | None, ...]:
    try:
        return tuple(parse_dim(p) for p in parts)
    except ValueError as e:
        raise OptionError(f"shape={whole!r}: {e}") from None


def dtype_named(name: str) -> DType:
    """The dtype of a short, NumPy or ONNX name. OptionError with the nearest for another one."""
    for find in (DType.from_short, DType.from_name):
        try:
            return find(name)
        except KeyError:
            continue
    known = [n for d in DType for n in (d.short, d.numpy_name)]
    near = nearest(name, known)
    raise OptionError(
        f"there is no element type {name!r}",
        hint=f"did you mean {near!r}?" if near else "type variables are written in capitals: T",
    )


def rule_of_function(fn: Callable[..., Any], outputs: int) -> Rule:
    """A rule from a function of the inputs' types (``TensorType``, None for an omitted input) and of those attributes
    that it names. It gives a ``TensorType`` or a pair of dtype and shape, or a tuple of these for several outputs.

    It is not asked while the rank of an input is unknown. ValueErrors that it raises are told as the model's fault.
    """
    names = {p.name for p in inspect.signature(fn).parameters.values() if p.kind is p.KEYWORD_ONLY}

    def infer(c: InferContext, attributes: Mapping[str, Any]) -> None:
        types = [None if v is None else v.type for v in c.node.inputs]
        if any(v is not None and _is_open(t) for v, t in zip(c.node.inputs, types, strict=True)):
            return
        try:
            told = fn(*types, **{n: attributes[n] for n in names})
            found = [told] if outputs == 1 else list(told)
            if len(found) != outputs:
                raise TypeError(f"it gave {len(found)} types for {outputs} outputs")
            made = [_as_type(t) for t in found]
        except RonnError:
            raise
        except Exception as e:
            why = str(e) if isinstance(e, ValueError) else f"{type(e).__name__}: {e}"
            raise c.fail(f"the shape rule of {c.node.op_id} ({fn.__qualname__}) fails: {why}") from e
        for i, t in enumerate(made[: len(c.node.outputs)]):
            c.set_type(i, t)

    return infer


def _is_open(t: Type | None) -> bool:
    """Whether dtype or rank are not known."""
    return t is None or (isinstance(t, TensorType) and (t.dtype is None or t.shape is None))


def _as_type(told: Any) -> Type:
    if isinstance(told, tuple) and len(told) == 2 and not isinstance(told, TensorType):
        dtype, shape = told
        if not isinstance(dtype, DType):
            dtype = dtype_named(dtype) if isinstance(dtype, str) else DType.of(np.dtype(dtype))
        return TensorType(dtype, None if shape is None else tuple(_as_dim(d) for d in shape))
    if not isinstance(told, Type):
        raise TypeError(f"it gave {told!r}: a TensorType, or a pair (dtype, shape)")
    return told


def _as_dim(d: Any) -> Dim | None:
    if d is None or isinstance(d, Sym):
        return d
    return parse_dim(d) if isinstance(d, str) else int(d)


def elementwise(c: InferContext, attributes: Mapping[str, Any]) -> None:
    """Outputs of the first input's element type, of the shape to which all inputs broadcast."""
    shape: Any = ()
    for i in range(len(c.node.inputs)):
        if c.has(i):
            shape = broadcast(c, shape, c.shape(i))
    for i in range(len(c.node.outputs)):
        c.set(i, c.dtype(0), shape)


def like_first(c: InferContext, attributes: Mapping[str, Any]) -> None:
    """Outputs like the first input."""
    for i in range(len(c.node.outputs)):
        c.set(i, c.dtype(0), c.shape(0))
