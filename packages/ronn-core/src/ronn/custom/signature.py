"""What a function's signature says about its operator: inputs, attributes, number of outputs."""

from __future__ import annotations

import ast
import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ronn.errors import ModelError, OptionError, nearest
from ronn.frontend.check import fits, kind_of
from ronn.ir.graph import Graph, Node
from ronn.records import dataclass

REQUIRED = inspect.Parameter.empty
_KINDS: dict[object, str] = {
    bool: "INT", int: "INT", float: "FLOAT", str: "STRING", bytes: "STRING", np.ndarray: "TENSOR", Graph: "GRAPH",
}  # fmt: skip
_LISTS = (list, tuple, collections.abc.Sequence)


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input: a positional parameter. One that defaults to None is optional, ``*args`` is variadic."""

    name: str
    optional: bool = False
    variadic: bool = False


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute: a keyword-only parameter. ``default`` is ``REQUIRED`` where a node must give it; ``choices`` are
    those of a ``Literal`` (empty: any)."""

    name: str
    kind: str
    default: Any
    boolean: bool = False
    choices: tuple[Any, ...] = ()

    def read(self, given: Any) -> Any:
        """The value that the function gets for what a node says. ValueError when it is of another kind."""
        if self.kind == "FLOAT" and type(given) is int:
            return float(given)
        if self.kind == "FLOATS" and isinstance(given, list) and all(type(v) in (int, float) for v in given):
            return [float(v) for v in given]
        if isinstance(given, list) and not given and self.kind.endswith("S"):
            return []
        if not fits(given, self.kind):
            raise ValueError(f"must be {self.kind}, not {kind_of(given)}")
        if self.choices and given not in self.choices:
            raise ValueError(f"is {given!r}, not one of {', '.join(map(repr, self.choices))}")
        return bool(given) if self.boolean else given


@dataclass(frozen=True, slots=True)
class Signature:
    """``outputs`` are their names; ``variadic``: the last one may come any number of times."""

    inputs: tuple[Parameter, ...]
    attributes: Mapping[str, Attribute]
    outputs: tuple[str, ...]
    variadic: bool = False

    @property
    def least(self) -> int:
        """How many inputs a node must have."""
        return sum(not p.optional and not p.variadic for p in self.inputs)

    @property
    def most(self) -> int:
        return 2**31 - 1 if self.inputs and self.inputs[-1].variadic else len(self.inputs)

    def check(self, node: Node) -> None:
        """ModelError, naming the node, for inputs or outputs that the function cannot have."""
        given = len(node.inputs)
        if not self.least <= given <= self.most:
            names = ", ".join(p.name for p in self.inputs)
            raise ModelError(
                f"{node.op_id} takes {_span(self.least, self.most)} inputs ({names}), not {given}", node=node
            )
        for parameter, value in zip(self.inputs, node.inputs, strict=False):
            if value is None and not parameter.optional and not parameter.variadic:
                raise ModelError(
                    f"input {parameter.name!r} of {node.op_id} is left out",
                    node=node,
                    hint=f"give it the default None ({parameter.name}=None) to make it optional",
                )
        if len(node.outputs) > len(self.outputs) and not self.variadic:
            raise ModelError(
                f"{node.op_id} has {len(self.outputs)} output(s), the node {len(node.outputs)}",
                node=node,
                hint="ronn.op(..., outputs=N) says how many there are",
            )

    def bind(self, node: Node) -> dict[str, Any]:
        """The attributes as the function's keywords. ModelError for one that is unknown, missing or of another kind."""
        bound: dict[str, Any] = {}
        for name, value in node.attributes.items():
            known = self.attributes.get(name)
            if known is None:
                near = nearest(name, list(self.attributes))
                listed = ", ".join(self.attributes) if self.attributes else "none"
                raise ModelError(
                    f"{node.op_id} has no attribute {name!r} (it has: {listed})",
                    node=node,
                    hint=f"did you mean {near!r}?" if near else "attributes are the keyword-only parameters",
                )
            try:
                bound[name] = known.read(value)
            except ValueError as e:
                raise ModelError(f"attribute {name!r} of {node.op_id} {e}", node=node) from None
        for attribute in self.attributes.values():
            if attribute.name not in bound:
                if attribute.default is REQUIRED:
                    raise ModelError(f"attribute {attribute.name!r} of {node.op_id} is missing", node=node)
                bound[attribute.name] = attribute.default
        return bound


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"at least {low}" if high >= 2**31 - 1 else f"{low} to {high}"


def read_signature(fn: Callable[..., Any], outputs: int | collections.abc.Sequence[str] | None) -> Signature:
    """The signature of an operator's function. OptionError, with the cure, for one that no operator can have.

    outputs: how many, or their names; None: as the return annotation says, else one.
    """
    inputs: list[Parameter] = []
    attributes: dict[str, Attribute] = {}
    for p in inspect.signature(fn).parameters.values():
        if p.kind is p.KEYWORD_ONLY:
            attributes[p.name] = _attribute(fn, p)
        elif p.kind is p.VAR_KEYWORD:
            raise OptionError(
                f"{fn.__qualname__} takes **{p.name}", hint="name the attributes, behind a *: def f(x, *, alpha=1.0)"
            )
        elif p.kind is p.VAR_POSITIONAL:
            inputs.append(Parameter(p.name, variadic=True))
        elif p.default is not p.empty and p.default is not None:
            raise OptionError(
                f"input {p.name!r} of {fn.__qualname__} has the default {p.default!r}",
                hint="the default of an input is None (then it is optional); numbers that a model fixes are "
                "attributes: write them behind a *",
            )
        else:
            inputs.append(Parameter(p.name, optional=p.default is None))
    names, variadic = _outputs(fn, outputs)
    return Signature(tuple(inputs), attributes, names, variadic)


def _outputs(fn: Callable[..., Any], given: int | collections.abc.Sequence[str] | None) -> tuple[tuple[str, ...], bool]:
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return _numbered(given), False
    if given is None:
        count, variadic = _returned(fn)
        return _numbered(count), variadic
    names = () if isinstance(given, (int, str)) else tuple(given)
    if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) < len(names):
        raise OptionError(f"outputs={given!r}: a number of outputs, or their names")
    return names, False


def _numbered(count: int) -> tuple[str, ...]:
    return ("y",) if count == 1 else tuple(f"y{i}" for i in range(count))


def _returned(fn: Callable[..., Any]) -> tuple[int, bool]:
    """How many outputs the return annotation speaks of, and whether there may be more."""
    found = fn.__annotations__.get("return")
    if isinstance(found, str):
        try:
            tree = ast.parse(found, mode="eval").body
        except SyntaxError:
            return 1, False
        if not isinstance(tree, ast.Subscript) or ast.unparse(tree.value).split(".")[-1] not in ("tuple", "Tuple"):
            return 1, False
        items = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        more = isinstance(items[-1], ast.Constant) and items[-1].value is Ellipsis
        return max(len(items) - more, 1), more
    if typing.get_origin(found) is tuple:
        listed = typing.get_args(found)
        more = Ellipsis in listed
        return max(len(listed) - more, 1), more
    return 1, False


def _attribute(fn: Callable[..., Any], p: inspect.Parameter) -> Attribute:
    default = p.default
    annotation = _evaluated(fn, p.annotation)
    if annotation is p.empty:
        if default is p.empty or default is None or (isinstance(default, (list, tuple)) and not default):
            told = "has no default" if default is p.empty else f"has the default {default!r}"
            raise OptionError(
                f"attribute {p.name!r} of {fn.__qualname__} has no type: it has no annotation and {told}",
                hint=f"annotate it: {p.name}: float (int, str, bool, list[int], numpy.ndarray ...)",
            )
        kind, boolean, choices = kind_of(_plain(default)), isinstance(default, bool), ()
    else:
        kind, boolean, choices = _kind(fn, p.name, annotation)
    made = Attribute(p.name, kind, default, boolean, choices)
    if default is not p.empty and default is not None:
        try:
            made = Attribute(p.name, kind, made.read(_plain(default)), boolean, choices)
        except ValueError as e:
            raise OptionError(f"the default of attribute {p.name!r} of {fn.__qualname__} {e}") from None
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.item() if isinstance(value, np.generic) else value


def _evaluated(fn: Callable[..., Any], annotation: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    scope = getattr(inspect.unwrap(fn), "__globals__", {})
    try:
        return eval(annotation, {"np": np, "numpy": np, **vars(typing), **scope})
    except Exception as e:
        raise OptionError(f"the annotation {annotation!r} of {fn.__qualname__} cannot be read: {e}") from e


def _kind(fn: Callable[..., Any], name: str, annotation: Any) -> tuple[str, bool, tuple[Any, ...]]:
    """ONNX's kind of an annotated attribute, whether it is a bool, and the values it may have."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        rest = [a for a in arguments if a is not type(None)]
        if len(rest) == 1:
            return _kind(fn, name, rest[0])
    elif origin is typing.Literal:
        return kind_of(arguments[0]), False, arguments
    elif origin in _LISTS and arguments:
        kind, boolean, _ = _kind(fn, name, arguments[0])
        if not kind.endswith("S") and not boolean:
            return kind + "S", False, ()
    elif origin is np.ndarray:
        return "TENSOR", False, ()
    elif isinstance(annotation, type) and annotation in _KINDS:
        return _KINDS[annotation], annotation is bool, ()
    raise OptionError(
        f"attribute {name!r} of {fn.__qualname__} is annotated as {annotation!r}, which no attribute can be",
        hint="float, int, bool, str, bytes, numpy.ndarray, list[...] of these, Literal[...], or one of these | None",
    )
