"""What C-like languages differ in: qualifiers, the numbers of work-items, barriers, names of types and functions.

Kernels are written once, in C with these words:

* ``KERNEL``, ``GLOBAL``, ``LOCAL``, ``CONSTANT``, ``DEVICE`` (a function that kernels call), ``RESTRICT``;
* ``GLOBAL_ID(k)``, ``GLOBAL_SIZE(k)``, ``LOCAL_ID(k)``, ``LOCAL_SIZE(k)``, ``GROUP_ID(k)``, ``GROUPS(k)``, k = 0, 1, 2;
* ``BARRIER()``: of a work-group, for local memory; ``BARRIER_ALL()``: for local and global memory;
* types ``f32 f64 i8 i16 i32 i64 u8 u16 u32 u64``, ``bool8`` (a stored bool), ``f16bits bf16bits`` (stored as u16);
* functions of the standard C library by the names of OpenCL C for both precisions (``exp``, ``fma``, ``fmin`` ...),
  ``AS_F32(x) AS_U32(x) AS_F64(x) AS_U64(x)``: the same bits; ``ATOMIC_ADD_I32(p, x)``, ``ATOMIC_MAX_I64(p, x)``;
* ``MULADD(a, b, c)``: a * b + c of floats or vectors of them, rounded once or twice, whichever is quicker (plain
  operators where a dialect does not define it).

A dialect may have vectors of 4 and 8 elements: ``f32x8 i32x8 f64x4`` and so on, which take
``+ - *``, with ``LOAD_f32x8(p)`` and ``STORE_f32x8(p, v)`` (p is aligned to an element) and ``SPLAT_f32x8(number)``;
``LOAD_i32x8_i8(p)`` and ``LOAD_i32x8_i16(p)`` widen what they load.

A dialect gives them their meaning in ``prelude``; what stands there is all that a new language needs.
"""

from __future__ import annotations

from typing import ClassVar

TYPES = {
    "f32": "float", "f64": "double", "i8": "signed char", "u8": "unsigned char", "i16": "short",
    "u16": "unsigned short", "i32": "int", "u32": "unsigned int", "i64": "long", "u64": "unsigned long",
    "bool": "unsigned char", "f16": "unsigned short", "bf16": "unsigned short",
}  # fmt: skip
"""How element types are stored, in the words of OpenCL C: dialects whose ``long`` has 32 bits name others."""


class Dialect:
    """A C-like language. ``groups``: work-items of a group run together, share local memory and wait for each other;
    without them a group is one work-item. ``vectors``: whether there are the words for vectors."""

    name: ClassVar[str]
    suffix: ClassVar[str] = ".c"
    groups: ClassVar[bool] = True
    vectors: ClassVar[bool] = False
    types: ClassVar[dict[str, str]] = TYPES

    def prelude(self, *, doubles: bool = True) -> str:
        """The text in front of kernels. ``doubles``: whether float64 may be used."""
        raise NotImplementedError(f"{type(self).__name__}.prelude")

    def typedefs(self, *, doubles: bool = True) -> str:
        """The names of element types."""
        names = {n: t for n, t in self.types.items() if n not in ("bool", "f16", "bf16") and (doubles or n != "f64")}
        lines = [f"typedef {t} {n};" for n, t in names.items()]
        stored = {"bool8": "bool", "f16bits": "f16", "bf16bits": "bf16"}
        return "\n".join([*lines, *(f"typedef {self.types[t]} {n};" for n, t in stored.items())])
