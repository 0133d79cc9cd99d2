"""What the vector layer knows of a processor: vector width and the instructions worth using.

This is the only place that names instruction sets. Kernels ask a ``Target`` for lane counts and register tiles.
"""

from __future__ import annotations

from functools import lru_cache

from ronn.records import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of processor. ``bits`` is the vector width, ``registers`` how many vector registers there are.

    fma: fused multiply-add in hardware; without it ``fma`` in kernels is a multiplication and an addition.
    int8_dot: 4-way unsigned-by-signed int8 dot products (VNNI). bf16_dot: 2-way bfloat16 dot products.
    popcount: bits are counted in each lane.
    """

    name: str
    bits: int
    registers: int
    fma: bool = False
    int8_dot: bool = False
    bf16_dot: bool = False
    popcount: bool = False

    def lanes(self, bits: int) -> int:
        """Elements of ``bits`` bits in one vector."""
        return self.bits // bits

    def masked(self, bits: int) -> bool:
        """Whether loads and stores of a vector's first lanes are instructions, for elements of ``bits`` bits."""
        return self.bits == 512 or (self.bits == 256 and bits >= 32)


BASELINE = Target("baseline128", 128, 16)
AVX2 = Target("avx2", 256, 16, fma=True)
AVX512 = Target("avx512", 512, 32, fma=True)


def of_features(features: frozenset[str]) -> Target:
    """The target for LLVM feature names that are switched on (``avx2``, ``fma``, ``avx512vnni`` ...)."""
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"} <= features:
        known = ("avx512vnni", "avx512bf16", "avx512vpopcntdq")
        return Target("avx512", 512, 32, True, *(name in features for name in known))
    if {"avx2", "fma"} <= features:
        return Target("avx2", 256, 16, True, "avxvnni" in features, False)
    if "neon" in features:
        return Target("neon", 128, 32, True, False, False, True)
    return BASELINE


@lru_cache(maxsize=1)
def host() -> Target:
    """The target that numba compiles for in this process (``NUMBA_CPU_FEATURES`` counts)."""
    from numba.core.registry import cpu_target

    text = cpu_target.target_context.codegen()._get_host_cpu_features()  # what numba hands to LLVM
    return of_features(frozenset(word[1:] for word in text.split(",") if word.startswith("+")))
