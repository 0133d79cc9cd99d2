"""The text form of loops: what kernels are cached by, and what people read.

loop outer=1 inner=1 vector=inner
x0: f32[s 1]
y0: f32[s 1]
each
  %0: f32 = load x0
  %1: f32 = largest %0
each
  %2: f32 = load x0
  %3: f32 = sub %2 %1
  store y0 %3
"""

from __future__ import annotations

import re

from ronn_codegen.loops.language import FLOATS, HALVES, Array, Instr, Loop, LoopError, Section, verify

_HEAD = re.compile(r"^loop outer=(\d+) inner=(\d+) vector=(inner|outer)$")
_ARRAY = re.compile(r"^(\w+): (\w+)\[([01s%468 ]*)\]$")
_INSTR = re.compile(r"^%(\d+): (\w+) = (\w+)((?: \S+)*)$")
_STORE = re.compile(r"^store (\w+) %(\d+)$")


def print_loop(loop: Loop) -> str:
    """The text of ``loop``; equal loops have equal texts."""
    lines = [f"loop outer={loop.outer} inner={loop.inner} vector={loop.vector}"]
    lines += [f"{a.name}: {a.dtype}[{' '.join(a.strides)}]" for a in loop.arrays]
    for section in loop.sections:
        lines.append(section.kind)
        lines += [f"  {_print_instr(i)}" for i in section.instrs]
    return "\n".join(lines) + "\n"


def _print_instr(instr: Instr) -> str:
    if instr.op == "store":
        return f"store {instr.array} %{instr.args[0]}"
    words = [instr.op]
    if instr.op == "load":
        words.append(instr.array)
    if instr.number is not None:
        words.append(repr(instr.number))
    words += [f"%{a}" for a in instr.args]
    return f"%{instr.result}: {instr.dtype} = {' '.join(words)}"


def parse(text: str) -> Loop:
    """The loop that a text describes, verified. LoopError, with the line, for a text that does not parse."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    head = _HEAD.match(lines[0]) if lines else None
    if head is None:
        raise LoopError(f"a loop begins with 'loop outer=N inner=N vector=inner', not {lines[:1]}")
    arrays: list[Array] = []
    sections: list[tuple[str, list[Instr]]] = []
    for line in lines[1:]:
        if line in ("each", "row"):
            sections.append((line, []))
        elif not sections:
            found = _ARRAY.match(line)
            if found is None:
                raise LoopError(f"an array is declared as 'x: f32[s 1]', not {line!r}")
            arrays.append(Array(found[1], found[2], tuple(found[3].split())))
        else:
            sections[-1][1].append(_parse_instr(line))
    return verify(
        Loop(
            int(head[1]),
            int(head[2]),
            head[3],
            tuple(arrays),
            tuple(Section(kind, tuple(instrs)) for kind, instrs in sections),
        )
    )


def _parse_instr(line: str) -> Instr:
    store = _STORE.match(line)
    if store is not None:
        return Instr(-1, "store", "", (int(store[2]),), store[1])
    found = _INSTR.match(line)
    if found is None:
        raise LoopError(f"an instruction is '%1: f32 = add %0 %0', not {line!r}")
    result, dtype, op, words = int(found[1]), found[2], found[3], found[4].split()
    try:
        if op == "load":
            (array,) = words
            return Instr(result, op, dtype, array=array)
        if op in ("const", "index"):
            (word,) = words
            is_float = dtype in FLOATS or dtype in HALVES
            number = float(word) if is_float else word == "True" if dtype == "bool" else int(word)
            return Instr(result, op, dtype, number=number)
        if any(not w.startswith("%") for w in words):
            raise ValueError
        return Instr(result, op, dtype, tuple(int(w[1:]) for w in words))
    except ValueError:
        raise LoopError(f"cannot read the operands of {line!r}") from None
