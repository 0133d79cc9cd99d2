"""What RONN knows of the host: processor, its features, how many threads make sense and why, where caches go."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

# What kernels care about; everything else that a processor lists is noise here.
_FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni",
    "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve", "bf16",
)  # fmt: skip


def cpu() -> dict[str, Any]:
    """Model name and features, as far as the system tells."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    return {"name": name, "machine": platform.machine(), "features": [f for f in _FEATURES if f in flags]}


def threads() -> dict[str, Any]:
    """The number of threads that fit this process, and where the number comes from."""
    logical = os.cpu_count() or 1
    sources = {"logical processors": float(logical)}
    if hasattr(os, "sched_getaffinity"):
        sources["affinity mask"] = float(len(os.sched_getaffinity(0)))
    quota = cgroup_quota()
    if quota is not None:
        sources["cgroup quota"] = quota
    # The last source of equal ones is the most specific.
    limiting, value = min(reversed(sources.items()), key=lambda kv: kv[1])
    return {"number": max(1, int(value)), "from": limiting, "sources": sources}


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Processors that the control group grants, as a fraction; None without a limit (or without control groups)."""
    found = [q for q in (*_quotas_v2(root, own), _quota_v1(root)) if q is not None]
    return min(found, default=None)


def _quotas_v2(root: Path, own: Path) -> list[float | None]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    inner = next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
    folder, quotas = root / inner, []
    while folder == root or root in folder.parents:
        try:
            quota, period = (folder / "cpu.max").read_text().split()[:2]
            quotas.append(None if quota == "max" else int(quota) / int(period))
        except (OSError, ValueError):
            pass
        if folder == root:
            break
        folder = folder.parent
    return quotas


def _quota_v1(root: Path) -> float | None:
    try:
        quota = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period = int((root / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def give_free_memory_back() -> None:
    """Hands memory that has been freed, but is still held by the C library, back to the system (glibc)."""
    import ctypes
    import sys

    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def cache_folder() -> Path:
    """Where caches go: RONN_CACHE_DIR, else ``ronn`` in the user's cache folder."""
    from ronn import knobs

    given = knobs.CACHE_DIR.get()
    if given:
        return Path(given).expanduser()
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser() / "ronn" / "Cache"
    if platform.system() == "Darwin":
        return Path("~/Library/Caches/ronn").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ronn"
