"""A loop over sizes that are known: written with the strides at hand, then brought to one of few structures.

Axes of length 1 go, axes that lie behind one another in every array become one, and the vector axis is chosen. What is
left of the sizes is run-time parameters, so that other sizes of the same structure have the same text.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from ronn_codegen.loops.kernel import LoopKernel
from ronn_codegen.loops.language import Array, Loop, verify
from ronn_codegen.loops.write import Value, Writer

_SHORT = 8  # reductions over so few elements go along rows where they can


@dataclass(frozen=True)
class Bound:
    """A kernel and what to call it with: the key of each array, and the dims and strides."""

    kernel: LoopKernel
    arrays: dict[str, Hashable]
    sizes: dict[str, int]

    @property
    def loop(self) -> Loop:
        return self.kernel.loop


class Nest:
    """A loop being written over ``shape``, whose last ``inner`` axes the ``each`` sections run over.

    With ``inner=0`` the loop is pointwise. Arrays are declared with their strides along every axis of ``shape``, in
    elements; ``key`` is whatever names their memory to the caller.
    """

    def __init__(self, shape: Sequence[int], inner: int = 0) -> None:
        self.shape = tuple(shape)
        self.reduced = inner
        self.writer = Writer(len(self.shape) - inner, inner)
        self._arrays: dict[str, tuple[Hashable, str, tuple[int, ...]]] = {}
        self._pinned: set[int] = set()

    def array(self, key: Hashable, dtype: str, strides: Sequence[int]) -> str:
        """An array, declared once for equal arguments; gives its name."""
        # Along an axis of length 1 any stride means the same.
        laid = tuple(0 if d == 1 else s for s, d in zip(strides, self.shape, strict=True))
        wanted = (key, dtype, laid)
        for name, known in self._arrays.items():
            if known == wanted:
                return name
        name = f"a{len(self._arrays)}"
        self._arrays[name] = wanted
        self.writer.declare(name, dtype)
        return name

    def load(self, key: Hashable, dtype: str, strides: Sequence[int]) -> Value:
        """The element of an array."""
        return self.writer.load(self.array(key, dtype, strides))

    def store(self, key: Hashable, dtype: str, strides: Sequence[int], value: Value) -> None:
        """Writes the element of an array."""
        self.writer.store(self.array(key, dtype, strides), value)

    def index(self, axis: int) -> Value:
        """The index along an axis of ``shape``, i64."""
        self._pinned.add(axis)
        return self.writer.index(axis)

    def finish(self) -> Bound:
        """The kernel and its sizes."""
        loop = self.writer.instructions()
        used = {i.array for i in loop.instrs() if i.array}
        strides = {n: list(laid) for n, (_, _, laid) in self._arrays.items() if n in used}
        split = len(self.shape) - self.reduced
        outer = self._collapse(list(range(split)), strides)
        inner = self._collapse(list(range(split, len(self.shape))), strides)
        dims = list(self.shape)
        for axes in (outer, inner):
            for group in axes:
                size = 1
                for axis in group:
                    size *= self.shape[axis]
                dims[group[-1]] = size
        # Every group goes by its last axis, whose stride is the group's.
        axes_outer, axes_inner = [g[-1] for g in outer], [g[-1] for g in inner]
        if not self.reduced:
            axes_outer, axes_inner = axes_outer[:-1], axes_outer[-1:]
        vector = self._vector(axes_outer, axes_inner, dims, strides)
        order: list[int | None] = [*axes_outer, *axes_inner]
        if vector == "inner" and not axes_inner:
            order.append(None)
        n_outer = len(axes_outer)
        along = len(order) - 1 if vector == "inner" else n_outer - 1
        arrays, sizes = [], {}
        stored = loop.stored()
        for name, given in strides.items():
            steps = [0 if a is None else given[a] for a in order]
            if order[along] is None:  # a single element: side by side, so that it is no structure of its own
                steps[along] = 1 if name in stored or not self.reduced else 0
            scalar = not any(steps) and name not in stored
            kinds = []
            for k, step in enumerate(steps):
                kinds.append("0" if scalar else str(step) if k == along and step in (0, 1) else "s")
                if kinds[-1] == "s":
                    sizes[f"{name}_{k}"] = step
            arrays.append(Array(name, self._arrays[name][1], tuple(kinds)))
        for k, axis in enumerate(order):
            sizes[f"d{k}"] = 1 if axis is None else dims[axis]
        numbers = {axis: k for k, axis in enumerate(order) if axis is not None}
        made = Loop(n_outer, len(order) - n_outer, vector, tuple(arrays), loop.sections)
        kernel, names = _canonical(_renumbered(made, numbers))
        sizes = {_renamed(size, names): value for size, value in sizes.items()}
        return Bound(LoopKernel.of(verify(kernel)), {names[n]: self._arrays[n][0] for n in strides}, sizes)

    def _collapse(self, axes: list[int], strides: dict[str, list[int]]) -> list[list[int]]:
        """Groups of axes that are one axis for every array. Axes of length 1 are left out."""
        groups: list[list[int]] = []
        for axis in axes:
            if self.shape[axis] == 1 and axis not in self._pinned:
                continue
            last = groups[-1] if groups else None
            if (
                last is not None
                and axis not in self._pinned
                and last[-1] not in self._pinned
                and all(s[last[-1]] == s[axis] * self.shape[axis] for s in strides.values())
            ):
                last.append(axis)
            else:
                groups.append([axis])
        return groups

    def _vector(
        self, outer: Sequence[int], inner: Sequence[int], dims: Sequence[int], strides: dict[str, list[int]]
    ) -> str:
        """Along which axis vectors lie best: that on which most arrays have their elements side by side."""
        if not self.reduced or not outer:
            return "inner"
        if not inner:
            return "outer"

        def fit(axis: int) -> int:
            return sum(s[axis] == 1 for s in strides.values()) - sum(s[axis] not in (0, 1) for s in strides.values())

        count = 1
        for axis in inner:
            count *= dims[axis]
        if count <= _SHORT and dims[outer[-1]] >= 2 * _SHORT:
            return "outer"
        return "inner" if fit(inner[-1]) >= fit(outer[-1]) else "outer"


def _renumbered(loop: Loop, numbers: dict[int, int]) -> Loop:
    """With axes of ``index`` instructions as they are after collapsing."""
    sections = tuple(
        replace(
            s,
            instrs=tuple(
                replace(i, number=numbers[int(i.number or 0)]) if i.op == "index" else i for i in s.instrs
            ),
        )
        for s in loop.sections
    )  # fmt: skip
    return replace(loop, sections=sections)


def _canonical(loop: Loop) -> tuple[Loop, dict[str, str]]:
    """Arrays named in order of use: x0 ... those that are read, y0 ... those that are written."""
    stored = loop.stored()
    names: dict[str, str] = {}
    for instr in loop.instrs():
        if instr.array and instr.array not in names:
            kind = "y" if instr.array in stored else "x"
            names[instr.array] = f"{kind}{sum(n[0] == kind for n in names.values())}"
    arrays = sorted((replace(a, name=names[a.name]) for a in loop.arrays), key=lambda a: (a.name[0], int(a.name[1:])))
    sections = tuple(
        replace(s, instrs=tuple(replace(i, array=names[i.array]) if i.array else i for i in s.instrs))
        for s in loop.sections
    )
    return replace(loop, arrays=tuple(arrays), sections=sections), names


def _renamed(size: str, names: dict[str, str]) -> str:
    array, _, axis = size.partition("_")
    return f"{names[array]}_{axis}" if axis else size
