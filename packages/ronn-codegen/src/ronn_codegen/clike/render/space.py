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


def unflatten(rest: str, axes: list[int], declared: str = "i64") -> list[str]:
    """Statements that give the index along each of ``axes`` (outermost first) from the flat index ``rest``."""
    lines = []
    for n, k in enumerate(axes):
        behind = " * ".join(f"d{a}" for a in axes[n + 1 :])
        left = f"{rest} / ({behind})" if len(axes) - n > 2 else f"{rest} / {behind}" if behind else rest
        lines.append(f"const {declared} {index(k)} = {left if n == 0 else f'{left} % d{k}'};")
    return lines


def product(axes: Iterable[int]) -> str:
    """How many indices axes have."""
    told = " * ".join(f"d{k}" for k in axes)
    return told if told else "1"


def rest_axes(loop: Loop) -> list[int]:
    """The axes of the index space but for the vector axis, outermost first."""
    return [k for k in range(loop.rank) if k != loop.vector_axis]
