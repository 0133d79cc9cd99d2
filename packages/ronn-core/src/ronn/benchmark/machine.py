"""The machine while something is measured: what it is, and what else happened on it."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

from ronn import host
from ronn.records import dataclass

_BUSY = 0.05  # of the processors, from which other programs are worth a word
_STOLEN = 0.01


def describe() -> dict[str, Any]:
    """Processor, threads and where their number comes from, system, Python."""
    return {
        **host.cpu(),
        "processors": os.cpu_count(),
        "threads": host.threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def process_memory() -> tuple[int, int]:
    """Bytes of this process in memory now, and at most so far; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS:", "VmHWM:"))}
    if found:
        return int(found.get("VmRSS", 0)) * 1024, int(found.get("VmHWM", 0)) * 1024
    try:
        import resource
    except ImportError:
        return 0, 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 0, peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True, slots=True)
class Counters:
    """Seconds of processors since the system started (``None``: not told): in use, taken by the hypervisor, all; of
    this process; and how often and for how many seconds the control group held the process back."""

    busy: float | None
    stolen: float | None
    whole: float | None
    own: float
    throttled: int | None
    throttled_s: float

    @classmethod
    def now(cls, root: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Counters:
        used = os.times()
        busy, stolen, whole = _processors(root / "stat")
        return cls(busy, stolen, whole, used.user + used.system, *_throttled(root, groups))


def _processors(path: Path) -> tuple[float | None, float | None, float | None]:
    try:
        fields = path.read_text(encoding="ascii").splitlines()[0].split()
        tick = os.sysconf("SC_CLK_TCK")
        user, nice, system, idle, wait, irq, softirq, steal = (int(f) / tick for f in fields[1:9])
    except (OSError, ValueError, IndexError, AttributeError):
        return None, None, None
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + idle + wait + steal


def _throttled(root: Path, groups: Path) -> tuple[int | None, float]:
    try:
        lines = (root / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None, 0.0
    inner = next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
    for folder in (groups / inner, groups, groups / "cpu"):
        try:
            pairs = dict(line.split() for line in (folder / "cpu.stat").read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):
            continue
        if "nr_throttled" in pairs:
            micro = int(pairs.get("throttled_usec", 0)) or int(pairs.get("throttled_time", 0)) // 1000
            return int(pairs["nr_throttled"]), micro / 1e6
    return None, 0.0


def disturbances(before: Counters, after: Counters) -> list[str]:
    """What happened between two looks at the counters, in words."""
    notes = []
    if before.whole is not None and after.whole is not None and after.whole > before.whole:
        assert before.busy is not None and after.busy is not None
        whole = after.whole - before.whole
        others = (after.busy - before.busy - (after.own - before.own)) / whole
        if others > _BUSY:
            notes.append(f"Other programs used {others:.0%} of the processors meanwhile: times are too long, P99 most.")
        stolen = ((after.stolen or 0.0) - (before.stolen or 0.0)) / whole
        if stolen > _STOLEN:
            notes.append(f"The hypervisor gave {stolen:.0%} of the processors to others meanwhile.")
    if before.throttled is not None and after.throttled is not None and after.throttled > before.throttled:
        notes.append(
            f"The control group held the process back {after.throttled - before.throttled} times, for "
            f"{after.throttled_s - before.throttled_s:.2f} s: it has used up its quota of processor time."
        )
    return notes


def conditions(system: Path = Path("/sys/devices/system/cpu")) -> list[str]:
    """What about this machine makes times vary, in words."""
    notes = []
    threads = host.threads()
    quota = threads["sources"].get("cgroup quota")
    if quota is not None and quota < threads["sources"]["logical processors"]:
        notes.append(
            f"The control group grants {quota:g} of {threads['sources']['logical processors']:g} processors: more "
            "threads than that are held back."
        )
    turbo = _turbo(system)
    if turbo:
        notes.append("Turbo is on: the clock changes with temperature and with what other cores do.")
    governor = _word(system / "cpu0/cpufreq/scaling_governor")
    if governor and governor != "performance":
        notes.append(f"The clock is governed by '{governor}', not 'performance': short runs may see a low clock.")
    return notes


def _turbo(system: Path) -> bool | None:
    off = _word(system / "intel_pstate/no_turbo")
    if off:
        return off == "0"
    boost = _word(system / "cpufreq/boost")
    return boost == "1" if boost else None


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
