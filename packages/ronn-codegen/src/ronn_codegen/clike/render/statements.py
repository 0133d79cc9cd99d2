"""Instructions of the loop language as statements in C, one each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ronn_codegen.clike.render.values import Term, apply, c_type, cast, constant
from ronn_codegen.loops.language import Instr, LoopError


def statements(
    instrs: Iterable[Instr],
    loads: Mapping[str, Term | str],
    stores: Mapping[str, str] | None = None,
    known: Mapping[int, Term] | None = None,
    leaves: Mapping[object, str] | None = None,
    prefix: str = "v",
) -> tuple[list[str], dict[int, Term]]:
    """Straight-line instructions (no reductions) as statements, and the terms of their results.

    ``loads``: the C expression of the element of each array that is loaded. ``stores``: the C lvalue of each that is
    stored; without it stores are left out. ``known``: results of earlier sections. ``leaves``: i64 expressions of
    ``position``, ``count``, and of the index along each axis (by its number). Variables are called ``prefix`` and the
    number of the result.
    """
    lines: list[str] = []
    terms: dict[int, Term] = {} if known is None else dict(known)
    for instr in instrs:
        if instr.op == "store":
            if stores is not None:
                value = terms[instr.args[0]]
                lines.append(f"{stores[instr.array]} = {value.text};")
            continue
        if instr.op == "const":
            terms[instr.result] = constant(instr.number if instr.number is not None else 0, instr.dtype)
            continue
        if instr.op in ("index", "position", "count"):
            key = instr.number if instr.op == "index" else instr.op
            if leaves is None or key not in leaves:
                raise LoopError(f"no {instr.op} {instr.number} is known here")
            terms[instr.result] = Term(leaves[key], "i64")
            continue
        if instr.op == "load":
            given = loads[instr.array]
            text = given if isinstance(given, str) else given.text
            if instr.dtype == "bool":
                text = f"{text} != 0"
        else:
            text = apply(instr.op, instr.dtype, [terms[a] for a in instr.args])
        name = f"{prefix}{instr.result}"
        lines.append(f"const {c_type(instr.dtype)} {name} = {text};")
        terms[instr.result] = Term(name, instr.dtype)
    return lines, terms


__all__ = ["Term", "cast", "statements"]
