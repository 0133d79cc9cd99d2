"""What kernels do to a result while they have it: activations of fused operators, as statements in C."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ronn_codegen.clike.render.functions import functions_in
from ronn_codegen.clike.render.statements import statements
from ronn_codegen.loops import pointwise
from ronn_codegen.loops.language import Instr
from ronn_codegen.loops.write import Value, Writer, where

Param = float | str
"""A parameter of an activation: a number that stands in the text, or the C expression of one given at run time."""
_Operand = float | Value

ACTIVATIONS: dict[str, tuple[int, Callable[..., Value]]] = {
    "": (0, lambda x: x),
    "Relu": (0, pointwise.ACTIVATIONS["Relu"]),
    "Sigmoid": (0, lambda x: x.do("sigmoid")),
    "Tanh": (0, lambda x: x.do("tanh")),
    "HardSwish": (0, pointwise.ACTIVATIONS["HardSwish"]),
    "Silu": (0, pointwise.ACTIVATIONS["Silu"]),
    "Softplus": (0, pointwise.ACTIVATIONS["Softplus"]),
    "Softsign": (0, pointwise.ACTIVATIONS["Softsign"]),
    "Mish": (0, pointwise.ACTIVATIONS["Mish"]),
    "Gelu": (0, pointwise.gelu),
    "GeluTanh": (0, pointwise.gelu_tanh),
    "LeakyRelu": (1, lambda x, alpha: where(x < 0.0, x * alpha, x)),
    "Elu": (1, lambda x, alpha: where(x > 0.0, x, x.min(0.0).do("expm1") * alpha)),
    "HardSigmoid": (2, lambda x, alpha, beta: (x * alpha + beta).max(0.0).min(1.0)),
    "Clip": (2, lambda x, low, high: x.max(low).min(high)),
}
"""Names of ``ronn.ops.fused.ACTIVATION_ARITY`` (and a few more), how many parameters they take, and what they are."""


def activation(
    name: str, params: Sequence[Param] = (), x: str = "x", dtype: str = "f32", prefix: str = "a"
) -> tuple[list[str], str]:
    """Statements that compute an activation of the value ``x``, and the C expression of its result.

    The statements declare variables ``prefix`` and a number: put them between braces. They call functions, which
    ``functions_in`` defines. KeyError for a name that is not known, ValueError for a wrong number of parameters.
    """
    arity, rule = ACTIVATIONS[name]
    if len(params) != arity:
        raise ValueError(f"{name} takes {arity} parameters, not {len(params)}")
    if not name:
        return [], x
    given = {f"p{i}": p for i, p in enumerate(params) if isinstance(p, str)}

    def write(w: Writer) -> Value:
        w.declare("x", dtype)
        for p in given:
            w.declare(p, dtype)
        return rule(w.load("x"), *(w.load(f"p{i}") if isinstance(p, str) else float(p) for i, p in enumerate(params)))

    instrs, result = straight(write)
    lines, terms = statements(instrs, {"x": x, **given}, prefix=prefix)
    return lines, terms[result].text


def activate(name: str, dtype: str) -> list[str]:
    """Statements that change the variable ``v`` to its activation, whose parameters are ``p0`` and ``p1``."""
    if not name:
        return []
    lines, result = activation(name, [f"p{i}" for i in range(ACTIVATIONS[name][0])], x="v", dtype=dtype)
    return ["{", *(f"    {line}" for line in lines), f"    v = {result};", "}"]


def straight(write: Callable[[Writer], Value]) -> tuple[tuple[Instr, ...], int]:
    """The instructions that ``write`` emits, those that its result needs, and the number of the result."""
    w = Writer(0, 1)
    with w.each():
        value = write(w)
        w.declare("result", value.dtype)
        w.store("result", value)
    section = w.sections(w.touched()[2])[0]
    *instrs, last = section.instrs
    return tuple(instrs), last.args[0]


def activation_function(name: str, entry: str, dtype: str = "f32") -> str:
    """A function ``entry(x, p0, p1)``: the activation with parameters of run time (of an arity below 2 the others are
    ignored), and what it calls."""
    arity, _ = ACTIVATIONS[name]
    lines, result = activation(name, [f"p{i}" for i in range(arity)], dtype=dtype)
    body = "".join(f"    {line}\n" for line in lines)
    text = f"DEVICE {dtype} {entry}({dtype} x, {dtype} p0, {dtype} p1)\n{{\n{body}    return {result};\n}}\n"
    return functions_in(text) + text
