"""What the words of kernels mean in C: a group is one work-item, and all memory is one."""

from __future__ import annotations

from typing import ClassVar

from ronn_codegen.clike.dialect import Dialect

_WORDS = """
#include <stdint.h>
#include <string.h>
#include <tgmath.h>
#define KERNEL static
#define GLOBAL
#define LOCAL
#define CONSTANT static const
#define DEVICE static inline
#define RESTRICT restrict
static _Thread_local int64_t group_[3], groups_[3];
#define GLOBAL_ID(k) (group_[k])
#define GLOBAL_SIZE(k) (groups_[k])
#define GROUP_ID(k) (group_[k])
#define GROUPS(k) (groups_[k])
#define LOCAL_ID(k) ((int64_t)0)
#define LOCAL_SIZE(k) ((int64_t)1)
#define BARRIER()
#define BARRIER_ALL()
#define AS(to, from, x) ((union { from in; to out; }){.in = (x)}.out)
#define AS_F32(x) AS(f32, u32, x)
#define AS_U32(x) AS(u32, f32, x)
#define AS_F64(x) AS(f64, u64, x)
#define AS_U64(x) AS(u64, f64, x)
#define ATOMIC_ADD_I32(p, x) __atomic_fetch_add(p, x, __ATOMIC_RELAXED)
"""


class AcmeC(Dialect):
    """C11: a group is one work-item."""

    name: ClassVar[str] = "acme-c"
    groups: ClassVar[bool] = False
    types: ClassVar[dict[str, str]] = {
        "f32": "float", "f64": "double", "bool": "uint8_t", "f16": "uint16_t", "bf16": "uint16_t",
        **{f"{sign}{bits}": f"{'u' * (sign == 'u')}int{bits}_t" for sign in "iu" for bits in (8, 16, 32, 64)},
    }  # fmt: skip

    def prelude(self, *, doubles: bool = True) -> str:
        return _WORDS + self.typedefs(doubles=doubles)
