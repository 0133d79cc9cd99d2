"""The machine that kernels are compiled for: found without importing llvmlite, so that a warm start stays cheap."""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from typing import Any

from ronn.records import dataclass
from ronn_codegen.simd.target import AVX2, AVX512, BASELINE, Target, of_features

# Linux and LLVM spell these differently.
_SPELLING = {
    "avx512_vnni": "avx512vnni", "avx512_bf16": "avx512bf16", "avx_vnni": "avxvnni", "asimd": "neon",
    "avx512_vbmi2": "avx512vbmi2", "avx512_bitalg": "avx512bitalg", "avx512_vpopcntdq": "avx512vpopcntdq",
}  # fmt: skip
_MASKED = {
    "baseline": (BASELINE, "x86-64", ""),
    "avx2": (AVX2, "x86-64-v3", ""),
    "avx512": (AVX512, "x86-64-v4", ""),
}
LEVELS = ("native", *_MASKED)


@dataclass(frozen=True)
class Machine:
    """What code is generated for. ``cpu`` and ``features`` are LLVM's; empty: those of this host."""

    target: Target
    arch: str
    cpu: str = ""
    features: str = ""
    identity: str = ""
    level: str = "native"

    @property
    def triple(self) -> str:
        return f"{self.arch}-unknown-linux-gnu"

    @property
    def key(self) -> str:
        """Equal for machines that run the same code."""
        text = "|".join((self.target.name, self.arch, self.cpu, self.features, self.identity))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def description(self) -> str:
        """For people: level, vector layer, architecture."""
        return f"{self.level} ({self.target.name}), {self.arch}"

    def llvm_machine(self) -> Any:
        """An llvmlite TargetMachine that emits position-independent code."""
        import llvmlite.binding as llvm

        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        llvm.initialize_native_asmparser()
        cpu, features = self.cpu, self.features
        if not cpu:
            cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
        wide = ",+prefer-256-bit" if self.target.bits == 256 else ",-prefer-256-bit" if self.target.bits == 512 else ""
        return llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=cpu, features=(features + wide).lstrip(","), opt=3, reloc="pic", codemodel="small"
        )


@lru_cache(maxsize=8)
def machine(level: str = "native") -> Machine:
    """The machine for a level of instructions: ``native`` (all that this processor has), ``avx512``, ``avx2`` or
    ``baseline`` (128-bit vectors, no FMA). Raises ValueError for another level, or one that this processor lacks."""
    flags = host_features()
    arch = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    identity = hashlib.sha256(" ".join(sorted(flags)).encode()).hexdigest()[:16]
    native = of_features(flags)
    if level == "native":
        return Machine(native, arch, identity=identity)
    if level not in _MASKED:
        raise ValueError(f"there is no level {level!r}; one of {', '.join(LEVELS)}")
    target, cpu, features = _MASKED[level]
    if arch != "x86_64" or target.bits > native.bits:
        raise ValueError(f"this processor ({arch}, {native.name}) does not run {level} code")
    return Machine(target, arch, cpu, features, level=level)


@lru_cache(maxsize=1)
def host_features() -> frozenset[str]:
    """The features of this processor, spelled as LLVM does."""
    words: list[str] = []
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            for line in f:
                name, _, rest = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    words = rest.split()
                    break
    except OSError:
        pass
    if words:
        return frozenset(_SPELLING.get(w, w) for w in words)
    import llvmlite.binding as llvm

    return frozenset(name for name, on in llvm.get_host_cpu_features().items() if on)
