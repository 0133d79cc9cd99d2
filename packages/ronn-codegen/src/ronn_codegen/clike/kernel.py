"""Kernels for C-like devices: their parameters, their text, and over how many work-items they go."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol

from ronn.cached import cached_property
from ronn.records import dataclass, field
from ronn_codegen.clike.dialect import Dialect
from ronn_codegen.native.declare import Signature

Size3 = tuple[int, int, int]
Sizes = Mapping[str, float]
"""The numbers among a kernel's arguments, by name."""


@dataclass(frozen=True)
class Target:
    """What kernels are made for.

    group: most work-items of a group (1 where the dialect has no groups). local_bytes: local memory that one kernel
    may use at most, in bytes: the on-chip budget. width: float32 lanes that a vector unit takes at once. unit: rows,
    columns and depth that the matrix unit takes at once (1, 1, 1: there is none). doubles: whether there is float64.
    compute_units: how many groups run at once. alignment: tensors start and end at multiples of so many bytes, from 64
    on. cached: memory is cached and local memory is nothing else, as on CPUs: then kernels do better with registers and
    vectors than with tiles in local memory.
    """

    dialect: Dialect
    group: int = 64
    local_bytes: int = 32 << 10
    width: int = 8
    unit: Size3 = (1, 1, 1)
    doubles: bool = True
    compute_units: int = 1
    alignment: int = 64
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """How many groups a kernel is launched with, and of how many work-items each is."""

    groups: Size3
    local: Size3 = (1, 1, 1)


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter. ``kind``: ``i64``, ``f32``, ``f64`` for numbers; ``f32*`` and so on for arrays."""

    name: str
    kind: str

    @property
    def is_array(self) -> bool:
        return self.kind.endswith("*")


class Kernel(Protocol):
    """A kernel. ``text`` is its identity: equal texts have equal sources."""

    @property
    def text(self) -> str: ...
    @property
    def signature(self) -> Signature:
        """Its parameters as lowerings name them: arrays are words of kind ``i64``."""
        ...

    @property
    def params(self) -> tuple[Param, ...]:
        """The same, with what arrays hold."""
        ...

    def source(self, entry: str, target: Target) -> str:
        """The text of the kernel as a function called ``entry``, in the words of ``dialect``, behind a prelude."""
        ...

    def grid(self, sizes: Sizes, target: Target) -> Grid:
        """Over how many work-items it goes for these arguments."""
        ...


_FORM = re.compile(r"^\s*(\w+)\s*\((.*)\)\s*$", re.S)


def params_of(form: str) -> tuple[str, tuple[Param, ...]]:
    """Name and parameters of ``gather(x: u8*, y: u8*, count, scale: f32)``: numbers are ``i64`` unless marked."""
    found = _FORM.match(form)
    if found is None:
        raise ValueError(f"a kernel is declared as name(x: f32*, n, scale: f32), not {form!r}")
    params = []
    for word in filter(None, (w.strip() for w in found[2].split(","))):
        name, _, kind = (w.strip() for w in word.partition(":"))
        params.append(Param(name, kind if kind else "i64"))
    return found[1], tuple(params)


def head(entry: str, params: tuple[Param, ...], target: Target) -> str:
    """The beginning of a kernel's function up to its body. An array ``x`` is a buffer and an offset in bytes: where it
    starts in the buffer."""
    types = target.dialect.types
    given, starts = [], []
    for p in params:
        if p.is_array:
            element = types[p.kind[:-1]]
            given.append(f"GLOBAL u8 *{p.name}_buffer, i64 {p.name}_start")
            starts.append(f"    GLOBAL {element} *{p.name} = (GLOBAL {element} *)({p.name}_buffer + {p.name}_start);")
        else:
            given.append(f"{types[p.kind]} {p.name}")
    return f"KERNEL void {entry}(" + ",\n    ".join(given) + ")\n{\n" + "\n".join(starts) + ("\n" if starts else "")


_DIVISION = re.compile(r"/(?!/)")


@dataclass(frozen=True)
class Template:
    """A kernel written by hand.

    form: ``name(x: f32*, y: f32*, n)``. body: what one work-item does for the index ``item`` (i64). over: how many
    items there are, an expression of parameters and constants in C's integer arithmetic. functions: text in front of
    the kernel.

    With ``tiles`` it is not a loop over items: the body is all of the function, and ``tiles`` gives its grid.
    constants: numbers that the target decides, such as the sizes of tiles: the body knows them by their names.
    """

    form: str
    body: str
    over: str = ""
    functions: str = ""
    tiles: Callable[[Sizes, Target], Grid] | None = field(default=None, compare=False)
    constants: Callable[[Target], Mapping[str, int]] | None = field(default=None, compare=False)

    @cached_property
    def _declared(self) -> tuple[str, tuple[Param, ...]]:
        return params_of(self.form)

    @property
    def name(self) -> str:
        return self._declared[0]

    @property
    def params(self) -> tuple[Param, ...]:
        return self._declared[1]

    @cached_property
    def signature(self) -> Signature:
        return Signature(self.name, tuple((p.name, "i64" if p.is_array else p.kind) for p in self.params))

    @cached_property
    def text(self) -> str:
        return f"{self.form}\n{self.over}\n{self.functions}\n{self.body}"

    def source(self, entry: str, target: Target) -> str:
        functions = self.functions.replace("ENTRY", entry)
        top, body = head(entry, self.params, target), self.body.replace("ENTRY", entry).strip("\n")
        if self.constants is not None:
            top += f"    enum {{ {', '.join(f'{n} = {v}' for n, v in self.constants(target).items())} }};\n"
        if self.tiles is not None:
            return f"{functions}{top}{body}\n}}\n"
        return (
            f"{functions}{top}    const i64 items = {self.over};\n"
            f"    for (i64 item = GLOBAL_ID(0); item < items; item += GLOBAL_SIZE(0)) {{\n{body}\n    }}\n}}\n"
        )

    def grid(self, sizes: Sizes, target: Target) -> Grid:
        if self.tiles is not None:
            return self.tiles(sizes, target)
        known = dict(sizes) if self.constants is None else {**self.constants(target), **sizes}
        items = int(eval(_DIVISION.sub("//", self.over), {"__builtins__": {}}, known))  # our own expression
        return over_items(items, target)


def over_items(items: int, target: Target) -> Grid:
    """A work-item for each of ``items``, in groups of equal size: whole ones where they keep every compute unit busy,
    else an eighth of that, else single work-items. Devices may compile
    a kernel for each size of group: few are used."""
    fitting = (n for n in (target.group, target.group // 8) if n > 1 and items >= n * target.compute_units)
    local = next(fitting, 1)
    return Grid((max(-(-items // local), 1), 1, 1), (local, 1, 1))
