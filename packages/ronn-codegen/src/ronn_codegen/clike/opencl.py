"""OpenCL C 1.2 and newer."""

from __future__ import annotations

from typing import ClassVar

from ronn_codegen.clike.dialect import Dialect

_WORDS = """\
#define KERNEL __kernel
#define GLOBAL __global
#define LOCAL __local
#define CONSTANT __constant
#define DEVICE static inline
#define RESTRICT restrict
#define GLOBAL_ID(k) ((i64)get_global_id(k))
#define GLOBAL_SIZE(k) ((i64)get_global_size(k))
#define LOCAL_ID(k) ((i64)get_local_id(k))
#define LOCAL_SIZE(k) ((i64)get_local_size(k))
#define GROUP_ID(k) ((i64)get_group_id(k))
#define GROUPS(k) ((i64)get_num_groups(k))
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE)
#define BARRIER_ALL() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
#define AS_F32(x) as_float(x)
#define AS_U32(x) as_uint(x)
#define AS_F64(x) as_double(x)
#define AS_U64(x) as_ulong(x)
#define ATOMIC_ADD_I32(p, x) atomic_add((volatile GLOBAL i32 *)(p), (x))
"""

# PoCL's own are calls, of which LLVM makes no vectors. It goes by the name of a macro that only PoCL defines.
_OF_POCL = ("fma", "fabs", "copysign", "floor", "ceil", "rint", "trunc", "sqrt")
_ARITY = {"fma": 3, "copysign": 2}


def _builtins(doubles: bool) -> str:
    lines = ["#ifdef POCL_DEVICE_ADDRESS_BITS"]
    for name in _OF_POCL:
        given = "abc"[: _ARITY.get(name, 1)]
        for kind, suffix in (("f32", "f"), ("f64", "")) if doubles else (("f32", "f"),):
            takes, passes = ", ".join(f"{kind} {x}" for x in given), ", ".join(given)
            head = f"DEVICE {kind} __attribute__((overloadable)) pocl_{name}({takes})"
            lines.append(f"{head} {{ return __builtin_{name}{suffix}({passes}); }}")
        if name == "fma":
            for kind in ("f32", "f64") if doubles else ("f32",):
                for n in (4, 8):
                    t = f"{kind}x{n}"
                    head = f"DEVICE {t} __attribute__((overloadable)) pocl_fma({t} a, {t} b, {t} c)"
                    lines.append(f"{head} {{ return a * b + c; }}")
        lines += [f"#undef {name}", f"#define {name} pocl_{name}"]
    return "\n".join([*lines, "#endif\n"])


_VECTORS = {"f32": "float", "i32": "int", "u32": "uint", "f64": "double"}
_NARROW = {"i8": "char", "i16": "short"}


def _vectors(doubles: bool) -> str:
    """Types of vectors. PoCL's ``vload`` is several loads: there they are loaded as types of low alignment."""
    lines = []
    for name, kind in _VECTORS.items():
        for n in (4, 8) if doubles or name != "f64" else ():
            lines += [
                f"typedef {kind}{n} {name}x{n};",
                *_load(name, kind, n),
                f"#define STORE_{name}x{n}(p, v) vstore{n}(v, 0, p)",
                f"#define SPLAT_{name}x{n}(number) (({kind}{n})(number))",
            ]
    for name, kind in _NARROW.items():
        lines += [*_load(name, kind, 8), f"#define LOAD_i32x8_{name}(p) convert_int8(LOAD_{name}x8(p))"]
    return "\n".join(lines) + "\n"


def _load(name: str, kind: str, n: int) -> list[str]:
    whole, low = f"{kind}{n}", f"{name}x{n}_low"
    return [
        "#ifdef POCL_DEVICE_ADDRESS_BITS",
        f"typedef {whole} {low} __attribute__((aligned(sizeof({name})), may_alias));",
        *(
            f"DEVICE {whole} __attribute__((overloadable)) LOAD_{name}x{n}(const {space} {name} *p)"
            f" {{ return *(const {space} {low} *)p; }}"
            for space in ("GLOBAL", "LOCAL", "__private")
        ),
        "#else",
        f"#define LOAD_{name}x{n}(p) vload{n}(0, p)",
        "#endif",
    ]


class OpenCL(Dialect):
    """OpenCL C."""

    name: ClassVar[str] = "opencl"
    suffix: ClassVar[str] = ".cl"
    vectors: ClassVar[bool] = True

    def prelude(self, *, doubles: bool = True) -> str:
        extensions = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n" if doubles else ""
        return extensions + self.typedefs(doubles=doubles) + "\n" + _WORDS + _vectors(doubles) + _builtins(doubles)
