"""What RONN knows of the host: processor, its features, how many threads make sense and why, where caches go."""

from __future__ import annotations

import os
import platform
import sys
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
    """Processors that the control groups grant, as a fraction; None without a limit (or without control groups).

    The tightest of the process's own group and of those around it, in version 2 and in version 1.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        lines = []
    groups = {controllers: path for _, controllers, path in (line for line in lines if len(line) == 3)}
    folders = [*_around(root, groups.get("", "/"))]
    for controllers, path in groups.items():
        if "cpu" in controllers.split(","):
            folders += [f for name in dict.fromkeys((controllers, "cpu")) for f in _around(root / name, path)]
    folders += [root / "cpu", root / "cpu,cpuacct"]  # where a container has its own group mounted
    found = [q for folder in dict.fromkeys(folders) if (q := _quota(folder)) is not None]
    return min(found, default=None)


def _around(root: Path, group: str) -> list[Path]:
    """The folder of a group, and those of the groups around it."""
    inner = root.joinpath(*(part for part in group.split("/") if part not in ("", ".", "..")))
    return [f for f in (inner, *inner.parents) if f == root or root in f.parents]


def _quota(folder: Path) -> float | None:
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text() for name in files).split()[:2]
            if quota != "max" and int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):
            pass
    return None


def check_interpreter() -> None:
    """Raises RonnError in a sub-interpreter, before anything is imported that cannot live in one."""
    if not _in_main_interpreter():
        from ronn.errors import RonnError

        raise RonnError(
            "RONN does not run in a sub-interpreter: NumPy and the pool of native threads belong to the whole process",
            hint="use threads (kernels run without the GIL) or processes (sessions can be pickled); under mod_wsgi set "
            "WSGIApplicationGroup %{GLOBAL}",
        )


def _in_main_interpreter() -> bool:
    import _thread

    asked = getattr(_thread, "_is_main_interpreter", None)
    if asked is not None:
        return bool(asked())
    if sys.implementation.name != "cpython":
        return True
    import ctypes

    here, main = ctypes.pythonapi.PyInterpreterState_Get, ctypes.pythonapi.PyInterpreterState_Main
    here.restype = main.restype = ctypes.c_void_p
    return bool(here() == main())


def give_free_memory_back() -> None:
    """Hands memory that has been freed, but is still held by the C library, back to the system (glibc)."""
    if sys.platform == "linux" and not sys.is_finalizing():  # then nothing can be imported any more
        import ctypes

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
