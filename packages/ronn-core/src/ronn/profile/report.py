"""Profiles as text, JSON, a Chrome trace and a page."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ronn._version import __version__
from ronn.page import render
from ronn.profile.data import KernelTime, Profile

_BUSY = 1.3  # times the accounted time from which a run is said to have been disturbed


def time_text(seconds: float) -> str:
    """``12.3 µs``."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def summary(profile: Profile) -> list[tuple[str, str]]:
    """The figures of the whole run."""
    whole = profile.accounted if profile.accounted > 0 else 1.0
    rows = [
        (
            "time of a run",
            f"{time_text(profile.wall)} (median of {profile.runs}; {time_text(profile.fastest)} at best)",
        ),
        ("native kernels", f"{time_text(profile.native)} ({profile.native / whole:.0%})"),
        ("functions called from Python", f"{time_text(profile.functions)} ({profile.functions / whole:.0%})"),
        ("Python around them", f"{time_text(profile.python)} ({profile.python / whole:.0%})"),
        ("arithmetic", f"{profile.gflops:.1f} GFLOP/s over the whole run"),
    ]
    if profile.wall > _BUSY * profile.accounted:
        waited = 1 - profile.accounted / profile.wall
        rows.append(("other programs", f"took the processor for {waited:.0%} of the time: the machine is busy"))
    if profile.ceilings is not None:
        c = profile.ceilings
        rows.append(
            (
                "ceilings measured now",
                f"{c.flops / 1e9:.0f} GFLOP/s; {c.memory / 1e9:.1f} GB/s from memory, {c.cache / 1e9:.0f} from caches "
                f"({c.threads} thread{'s' * (c.threads != 1)})",
            )
        )
    return rows


def cells(profile: Profile, kernel: KernelTime) -> tuple[str, ...]:
    """A row of the table: time, share, kernel, node, operators, provider, GFLOP/s, GB/s, of the roofline."""
    share = kernel.seconds / profile.accounted if profile.accounted > 0 else 0.0
    reached = profile.of_peak(kernel)
    name = kernel.name if kernel.calls == 1 else f"{kernel.name} x {kernel.calls}"
    return (
        time_text(kernel.seconds),
        f"{share:.1%}",
        name,
        kernel.node,
        kernel.provider if kernel.kind == "native" else f"{kernel.provider} (Python)",
        f"{kernel.gflops:.1f}" if kernel.flops else "",
        f"{kernel.gbytes:.1f}" if kernel.nbytes else "",
        "" if reached is None else f"{reached:.0%}",
    )


COLUMNS = ("time", "share", "kernel", "node", "provider", "GFLOP/s", "GB/s", "roofline")


def text(profile: Profile, most: int = 30) -> str:
    """The profile as plain text, slowest kernels first."""
    lines = [f"{profile.model} ({profile.signature}), {profile.threads} threads"]
    lines += [f"  {what}: {value}" for what, value in summary(profile)]
    rows = [COLUMNS, *(cells(profile, k) for k in profile.by_time()[:most])]
    widths = [min(max(len(r[i]) for r in rows), 44) for i in range(len(COLUMNS))]
    for row in rows:
        padded = [
            cell[:width].ljust(width) if column in ("kernel", "node", "provider") else cell.rjust(width)
            for column, cell, width in zip(COLUMNS, row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    if len(profile.kernels) > most:
        lines.append(f"... and {len(profile.kernels) - most} more")
    return "\n".join(lines)


def as_data(profile: Profile) -> dict[str, Any]:
    """Everything as plain data."""
    return {
        "ronn": __version__,
        "model": profile.model,
        "signature": profile.signature,
        "threads": profile.threads,
        "runs": profile.runs,
        "seconds": profile.wall,
        "fastest_seconds": profile.fastest,
        "accounted_seconds": profile.accounted,
        "native_seconds": profile.native,
        "function_seconds": profile.functions,
        "python_seconds": profile.python,
        "gflops": profile.gflops,
        "ceilings": None if profile.ceilings is None else asdict(profile.ceilings),
        "machine": profile.machine,
        "kernels": [
            {**asdict(k), "gflops": k.gflops, "gbytes": k.gbytes, "of_roofline": profile.of_peak(k)}
            for k in profile.kernels
        ],
        "graph": [asdict(n) for n in profile.graph],
        "spans": [[s.kernel, s.start, s.seconds] for s in profile.spans],
    }


def trace(profile: Profile) -> dict[str, Any]:
    """Events that chrome://tracing and Perfetto show: one run, kernels and functions on lanes of their own."""
    lanes = {"native": 1, "python": 2}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": f"ronn: {profile.model}"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": "native kernels"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 2, "args": {"name": "functions called from Python"}},
    ]
    for span in profile.spans:
        k = profile.kernels[span.kernel]
        about = {"node": k.node, "ops": k.ops, "provider": k.provider, "flops": k.flops, "bytes": k.nbytes}
        events.append(
            {
                "ph": "X", "name": k.name, "cat": k.kind, "pid": 1, "tid": lanes[k.kind],
                "ts": span.start * 1e6, "dur": span.seconds * 1e6, "args": {**about, "shares": k.shares},
            }
        )  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def html(profile: Profile) -> str:
    """One page with everything in it: graph, timeline, roofline, table. It loads nothing."""
    title = f"{Path(profile.model).name}: RONN profile"
    return render(title, as_data(profile), package="ronn.profile", name="profile")


def save(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Writes a page, a trace or plain JSON, by the file's ending."""
    target = Path(path)
    if target.suffix in (".html", ".htm"):
        target.write_text(html(profile), encoding="utf-8", errors="replace")
    elif target.name.endswith(".trace.json"):
        target.write_text(json.dumps(trace(profile)), encoding="utf-8")
    else:
        target.write_text(json.dumps(as_data(profile), indent=1, default=str) + "\n", encoding="utf-8")
