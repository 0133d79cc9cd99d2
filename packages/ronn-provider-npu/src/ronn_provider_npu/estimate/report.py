"""An estimate in words and as a table."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from ronn_provider_npu.profiles.text import binary, large, small

if TYPE_CHECKING:
    from ronn_provider_npu.estimate.cost import Cost
    from ronn_provider_npu.estimate.estimate import Estimate

NOT_MEASURED = "An estimate from the figures of the profile: nothing was run, nothing was measured."

COLUMNS = (
    "node", "operator", "dtype", "MACs", "used", "memory", "compute", "moving", "transfer", "latency", "energy", "bound"
)  # fmt: skip
_WHY = {
    "compute": "the units: fewer operations, dims that fill the matrix unit, or a narrower dtype would help",
    "memory": "the memory behind the chip: a larger batch or smaller tensors would help",
    "transfer": "moving inputs and outputs: nodes that stay on the host, and what crosses to them, are where to look",
    "launch": "starting kernels: fewer and larger nodes, or a larger batch, would help",
}
_COUNTED = (
    "  counted    weights lie in the accelerator's memory; a kernel takes the longer of computing and moving operands,",
    "             and its start; results that only the next kernel reads stay on the chip where they fit",
)
_MOST = 5
_NAMES = re.compile(r"%\S+")


def row_of(cost: Cost) -> tuple[str, ...]:
    """A row of the table."""
    if cost.where == "host":
        return (cost.node, cost.op, *("",) * 9, "on the host")
    used = "" if cost.utilisation is None else f"{cost.utilisation:.0%}"
    return (
        cost.node, cost.op, cost.dtype, large(cost.macs, "").strip() if cost.macs else "", used,
        binary(cost.memory_bytes), small(cost.compute_s, "s"), small(cost.memory_s, "s"), small(cost.transfer_s, "s"),
        small(cost.latency_s, "s"), small(cost.energy_j, "J"), cost.bound,
    )  # fmt: skip


def explained(e: Estimate) -> str:
    """What comes out, why, and what it does not count."""
    lines = [
        NOT_MEASURED,
        f"  model      {e.model} ({e.inputs})",
        f"  profile    {e.profile.name}: {e.profile.description}",
    ]
    if e.guessed:
        sizes = ", ".join(f"{n} = {s}" for n, s in e.guessed.items())
        lines.append(f"  guessed    {sizes} (--shape or --dim says otherwise)")
    return "\n".join([*lines, *(_totals(e) if e.latency_s else ()), *_host(e), *_COUNTED])


def _totals(e: Estimate) -> list[str]:
    latency = e.latency_s
    moved, kept = sum(r.memory_bytes for r in e.rows), sum(r.kept_bytes for r in e.rows)
    crossed = sum(r.transfer_bytes for r in e.rows)
    used = ""
    if e.utilisation is not None and e.profile.has_matrix_unit:
        used = f"; {e.utilisation:.0%} of what the matrix unit does is no padding"
    shares = ", ".join(f"{name} {share:.0%}" for name, share in e.shares().items() if share >= 0.005)
    views = sum(not r.kernels for r in e.on_device)
    lines = [
        f"  latency    {small(latency, 's')} (estimate), {large(1 / latency, 'runs/s')} one after another",
        f"  energy     {small(e.energy_j, 'J')} a run (estimate), {small(e.energy_j / latency, 'W')} on average",
        f"  work       {large(e.macs, 'MACs')}, {large(e.operations, 'operations')}{used}",
        f"  bytes      {binary(moved)} through the memory, {binary(kept)} stay on the chip, "
        f"{binary(crossed)} from and to the host",
        f"  kernels    {sum(r.kernels for r in e.on_device)}, and {views} views",
        f"  bottleneck {e.bottleneck} ({shares} of the time)",
        f"             {_WHY[e.bottleneck]}",
    ]
    longest = sorted(e.on_device, key=lambda r: -r.latency_s)[:_MOST]
    for n, r in enumerate(longest):
        head = "  longest    " if n == 0 else " " * 13
        lines.append(f"{head}{small(r.latency_s, 's')} {r.op} {r.node!r}, bound by {r.bound}{_padding(r)}")
    return lines


def _padding(r: Cost) -> str:
    padded = r.utilisation is not None and r.utilisation < 0.9 and r.bound == "compute"
    words = [f"{r.utilisation:.0%} of the unit is used"] if padded else []
    words += [r.reuse] if r.reuse and r.bound == "memory" else []
    return f" ({'; '.join(words)})" if words else ""


def _host(e: Estimate) -> list[str]:
    if not e.on_host:
        return []
    what = f"{len(e.on_host)} node(s) with {1 - e.share:.0%} of the operations"
    lines = [f"  on host    {what}, whose time and energy are not in the estimate:"]
    reasons = Counter((r.op, _NAMES.sub("%...", r.reason)) for r in e.on_host)
    lines += [f"             {n} x {op}: {reason}" for (op, reason), n in reasons.most_common(_MOST)]
    if len(reasons) > _MOST:
        lines.append(f"             ... and {len(reasons) - _MOST} more kinds")
    return lines
