"""Declaring kernels. A kernel module holds factories marked with ``@native``; the module is the unit of compilation.

    @native("scale_f32(x, y, n, factor: f32)")
    def scale(target: Target) -> Callable[..., None]:
        ...
        return njit(...)(run)      # run(x, y, n, factor, worker, workers)

Parameters are 64-bit integers (addresses, sizes, strides) unless marked ``f32`` or ``f64``. The function that the
factory returns takes them in order, then ``worker`` and ``workers``: it computes share number ``worker`` of ``workers``
equal shares, and any number of shares must give the same bits. It must not allocate, raise or touch Python objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from ronn.records import dataclass
from ronn_codegen.simd.target import Target

Factory = Callable[[Target], Any]
F = TypeVar("F", bound=Factory)

_FORM = re.compile(r"^\s*(\w+)\s*\((.*)\)\s*$", re.S)
KINDS = ("i64", "f32", "f64")


@dataclass(frozen=True, slots=True)
class Signature:
    """Name and parameters (name, kind) of a kernel; each parameter takes one 64-bit word of its argument block."""

    name: str
    params: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Signature:
        """``name(a, b, c: f32)``. Raises ValueError for another form."""
        found = _FORM.match(text)
        if found is None:
            raise ValueError(f"a kernel is declared as name(a, b: f32), not {text!r}")
        params = []
        for word in filter(None, (w.strip() for w in found[2].split(","))):
            name, _, kind = (w.strip() for w in word.partition(":"))
            if kind and kind not in KINDS:
                raise ValueError(f"parameter {name!r} of {found[1]} has kind {kind!r}; known: {', '.join(KINDS)}")
            params.append((name, kind if kind else "i64"))
        return cls(found[1], tuple(params))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(n if k == 'i64' else f'{n}: {k}' for n, k in self.params)})"


@dataclass(frozen=True, slots=True)
class Declared:
    """A kernel of a module."""

    signature: Signature
    factory: Factory


def native(form: str) -> Callable[[F], F]:
    """Marks a factory as the kernel ``form``; a factory may carry several marks only if it is called for each."""
    signature = Signature.parse(form)

    def mark(factory: F) -> F:
        factory.__dict__["__ronn_native__"] = Declared(signature, factory)
        return factory

    return mark


def declared(module: ModuleType) -> dict[str, Declared]:
    """The kernels that a module declares, by name. ValueError when two have one name."""
    found: dict[str, Declared] = {}
    for thing in list(vars(module).values()):
        kernel = getattr(thing, "__ronn_native__", None)
        if kernel is None or getattr(thing, "__module__", None) != module.__name__:
            continue
        if found.get(kernel.signature.name, kernel) is not kernel:
            raise ValueError(f"{module.__name__} declares {kernel.signature.name!r} twice")
        found[kernel.signature.name] = kernel
    return found
