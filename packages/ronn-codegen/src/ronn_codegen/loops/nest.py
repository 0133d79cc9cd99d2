"""A loop over sizes that are known: written with the strides at hand, then brought to one of few structures.

Axes of length 1 go, axes that lie behind one another in every array become one, and the vector axis is chosen. What is
left of the sizes is run-time parameters, so that other sizes of the same structure have the same text; ``Nest.at``
brings what was written once to other sizes.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence

from ronn.cached import cached_property
from ronn.records import dataclass
from ronn_codegen.loops.kernel import LoopKernel
from ronn_codegen.loops.language import BITS, PERIODS, Array, Loop, LoopError
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
    elements; ``key`` is whatever names their memory to the caller. ``recipe`` says where the strides come from, so that
    the caller can find those for other sizes: equal ones give equal strides.
    """

    def __init__(self, shape: Sequence[int], inner: int = 0) -> None:
        self.shape = tuple(shape)
        self.reduced = inner
        self.writer = Writer(len(self.shape) - inner, inner)
        self._arrays: dict[str, tuple[Hashable, str, tuple[int, ...]]] = {}
        self._pinned: set[int] = set()
        self._recipes: dict[str, Hashable] = {}
        self._kernels: dict[Hashable, LoopKernel] = {}

    def array(self, key: Hashable, dtype: str, strides: Sequence[int], recipe: Hashable = None) -> str:
        """An array, declared once for equal arguments; gives its name."""
        if dtype not in BITS:
            raise LoopError(f"no elements of type {dtype}")
        # Along an axis of length 1 any stride means the same.
        laid = tuple(0 if d == 1 else s for s, d in zip(strides, self.shape, strict=True))
        wanted = (key, dtype, laid)
        for name, known in self._arrays.items():
            if known == wanted:
                if self._recipes[name] != recipe:
                    self._recipes[name] = None  # equal here, and perhaps not for other sizes
                return name
        name = f"a{len(self._arrays)}"
        self._arrays[name] = wanted
        self._recipes[name] = recipe
        self.writer.declare(name, dtype)
        return name

    def load(self, key: Hashable, dtype: str, strides: Sequence[int], recipe: Hashable = None) -> Value:
        """The element of an array."""
        return self.writer.load(self.array(key, dtype, strides, recipe))

    def store(
        self, key: Hashable, dtype: str, strides: Sequence[int], value: Value, recipe: Hashable = None
    ) -> None:
        """Writes the element of an array."""
        self.writer.store(self.array(key, dtype, strides, recipe), value)

    def index(self, axis: int) -> Value:
        """The index along an axis of ``shape``, i64."""
        self._pinned.add(axis)
        return self.writer.index(axis)

    def finish(self) -> Bound:
        """The kernel and its sizes."""
        return self.at(self.shape, {name: self._arrays[name][2] for name in self.used})

    @cached_property
    def _touched(self) -> tuple[dict[str, None], set[str], set[int]]:
        return self.writer.touched()

    @property
    def used(self) -> Mapping[str, tuple[Hashable, Hashable]]:
        """The arrays that the loop touches: key and recipe of each."""
        return {name: (self._arrays[name][0], self._recipes[name]) for name in self._touched[0]}

    def forget_keys(self) -> None:
        """Drops the keys of arrays, which may hold on to much; ``at`` then gives names in their place."""
        self._arrays = {name: (name, dtype, laid) for name, (_, dtype, laid) in self._arrays.items()}

    def at(self, shape: Sequence[int], strides: Mapping[str, Sequence[int]]) -> Bound:
        """What was written, over another shape of the same rank; ``strides`` of the arrays that are used."""
        used, stored, needed = self._touched
        strides = {n: [0 if d == 1 else s for s, d in zip(given, shape, strict=True)] for n, given in strides.items()}
        split = len(shape) - self.reduced
        dims: dict[int, int] = {}
        outer = self._collapse(range(split), shape, strides, dims)
        inner = self._collapse(range(split, len(shape)), shape, strides, dims)
        period = 0
        if not self.reduced:
            outer, inner = outer[:-1], outer[-1:]
            period = self._period(outer, inner, stored, strides, dims)
            if period:
                before = outer.pop()
                dims[inner[0]] *= dims[before]
        vector = self._vector(outer, inner, dims, strides)
        order: list[int | None] = [*outer, *inner]
        if vector == "inner" and not inner:
            order.append(None)  # a single element
        along = len(order) - 1 if vector == "inner" else len(outer) - 1
        names = _names(used, stored)
        sizes = {f"d{k}": 1 if axis is None else dims[axis] for k, axis in enumerate(order)}
        kinds_of: dict[str, tuple[str, ...]] = {}
        for name in sorted(used, key=lambda n: (names[n][0], int(names[n][1:]))):
            given = strides[name]
            steps = [0 if a is None else given[a] for a in order]
            if order[along] is None:  # side by side, so that one element is no structure of its own
                steps[along] = 1 if name in stored or not self.reduced else 0
            if name not in stored and not any(steps):
                kinds = ("0",) * len(steps)
            else:
                kinds = tuple(["01"[s] if k == along and s in (0, 1) else "s" for k, s in enumerate(steps)])
                if period and given[before] == 0 and steps[along] == 1:
                    kinds = (*kinds[:-1], f"%{period}")
                for k, kind in enumerate(kinds):
                    if kind == "s":
                        sizes[f"{names[name]}_{k}"] = steps[k]
            kinds_of[name] = kinds
        key = (tuple(order), len(outer), vector, tuple(kinds_of.values()))
        kernel = self._kernels.get(key)
        if kernel is None:
            arrays = tuple(Array(names[n], self._arrays[n][1], kinds) for n, kinds in kinds_of.items())
            axes = {axis: k for k, axis in enumerate(order) if axis is not None}
            sections = self.writer.sections(needed, names, axes)
            kernel = LoopKernel.of(Loop(len(outer), len(order) - len(outer), vector, arrays, sections))
            self._kernels[key] = kernel
        return Bound(kernel, {names[n]: self._arrays[n][0] for n in used}, sizes)

    def _collapse(
        self, axes: Iterable[int], shape: Sequence[int], strides: Mapping[str, Sequence[int]], dims: dict[int, int]
    ) -> list[int]:
        """Joins axes that are one for every array, and leaves out those of length 1. An axis that stands for several
        is the last of them; ``dims`` gets its length."""
        kept: list[int] = []
        for axis in axes:
            size = shape[axis]
            if size == 1 and axis not in self._pinned:
                continue
            dims[axis] = size
            if kept and axis not in self._pinned and kept[-1] not in self._pinned:
                before = kept[-1]
                if all(s[before] == s[axis] * size for s in strides.values()):
                    dims[axis] = dims[before] * size
                    kept[-1] = axis
                    continue
            kept.append(axis)
        return kept

    def _period(
        self, outer: Sequence[int], inner: Sequence[int], stored: Container[str], strides: Mapping[str, Sequence[int]],
        dims: Mapping[int, int],
    ) -> int:  # fmt: skip
        """The length of the last axis, if it and the one before it are one for all arrays but such as begin again."""
        if not outer or inner[0] in self._pinned or outer[-1] in self._pinned or dims[inner[0]] not in PERIODS:
            return 0
        before, last = outer[-1], inner[0]
        period = dims[last]
        for name, s in strides.items():
            whole = s[before] == s[last] * period and s[last] in (0, 1)
            if not whole and (name in stored or s[before] != 0 or s[last] != 1):
                return 0
        return period

    def _vector(
        self, outer: Sequence[int], inner: Sequence[int], dims: Mapping[int, int], strides: Mapping[str, Sequence[int]]
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


def _names(used: Iterable[str], stored: Container[str]) -> dict[str, str]:
    """Arrays named in order of use: x0 ... those that are read, y0 ... those that are written."""
    names: dict[str, str] = {}
    counts = {"x": 0, "y": 0}
    for name in used:
        kind = "y" if name in stored else "x"
        names[name] = f"{kind}{counts[kind]}"
        counts[kind] += 1
    return names
