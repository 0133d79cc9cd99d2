"""Where the elements of arrays lie for an index, in C."""

from __future__ import annotations

from collections.abc import Iterable

from ronn_codegen.loops.language import Array, Loop


def index(axis: int) -> str:
    """The variable of the index along an axis."""
    return f"i{axis}"


def stride(array: Array, axis: int) -> str:
    """The stride along an axis in C: ``0``, ``1`` or a parameter."""
    kind = array.strides[axis]
    return f"{array.name}_{axis}" if kind == "s" else "1" if kind[0] == "%" else kind


def offset(array: Array, axes: Iterable[int]) -> list[str]:
    """The terms of an offset along ``axes`` other than the vector axis."""
    return [f"{index(k)} * {stride(array, k)}" for k in axes if stride(array, k) != "0"]


def along(array: Array, axis: int, at: str) -> str:
    """The offset along the vector axis; empty for none."""
    kind = array.strides[axis]
    if kind == "0":
        return ""
    if kind[0] == "%":
        return f"({at} & {int(kind[1:]) - 1})"
    return at if kind == "1" else f"{at} * {stride(array, axis)}"


def element(array: Array, *terms: str) -> str:
    """The element of an array at the sum of ``terms``."""
    told = " + ".join(t for t in terms if t)
    return f"{array.name}[{told if told else '0'}]"


def unflatten(rest: str, axes: list[int]) -> list[str]:
    """Statements that give the index along each of ``axes`` (outermost first) from the flat index ``rest``.

    They hold for axes of no length as well, so that they may stand in front of the question whether there is anything
    (``beyond``): compilers then divide once for work-items side by side.
    """
    first, *others = axes
    if not others:
        return [f"const i64 {index(first)} = {rest};"] if index(first) != rest else []
    lines = [f"i64 {index(first)} = {rest};"]
    for k in reversed(others):
        lines.append(f"const i64 n{k} = d{k} > 0 ? d{k} : 1, {index(k)} = {index(first)} % n{k};")
        lines.append(f"{index(first)} /= n{k};")
    return lines


def beyond(axes: Iterable[int]) -> str:
    """Whether an index that ``unflatten`` gave is none of the index space."""
    return " || ".join(f"{index(k)} >= d{k}" for k in axes)


def product(axes: Iterable[int]) -> str:
    """How many indices axes have."""
    told = " * ".join(f"d{k}" for k in axes)
    return told if told else "1"


def rest_axes(loop: Loop) -> list[int]:
    """The axes of the index space but for the vector axis, outermost first."""
    return [k for k in range(loop.rank) if k != loop.vector_axis]
