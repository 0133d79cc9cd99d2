"""``ronn npu devices``: what OpenCL finds on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ronn.cli.common import JsonOpt, add, console, table, write_json

if TYPE_CHECKING:
    from ronn_provider_npu.discovery import Found


def devices(json: JsonOpt = False) -> None:
    """List the OpenCL devices of all platforms, those that cannot be used too, with the reason.

    Examples:

        ronn npu devices

        ronn npu devices --json
    """
    from ronn.provider.contract import Unavailable
    from ronn_provider_npu import discovery
    from ronn_provider_npu.profiles.text import binary

    reason = ""
    rows: list[dict[str, Any]] = []
    try:
        rows = [_row(f) for f in discovery.found()]
    except Unavailable as e:
        reason = str(e)
    if json:
        write_json({"devices": rows, "reason": reason})
        return
    out = console()
    if reason:
        out.print(reason, markup=False, soft_wrap=True)
        return
    columns = ("device", "what it is", "on the chip", "group", "float64", "profile", "unusable because")
    shown = table("OpenCL devices", *columns)
    for r in rows:
        on_chip = "" if r["on_chip_bytes"] is None else binary(r["on_chip_bytes"])
        add(shown, *("" if v is None else v for v in {**r, "on_chip_bytes": on_chip}.values()))
    out.print(shown)


def _row(found: Found) -> dict[str, Any]:
    """A device: what tells kernels how to be made, where it can be used."""
    if found.reason:
        told: tuple[Any, ...] = (None,) * 4
    else:
        from ronn_provider_npu.device import held_to, usual_profile
        from ronn_provider_npu.launcher import target_of

        profile = usual_profile(found.is_cpu)
        target = held_to(target_of(found.device), profile)
        told = (target.local_bytes, target.group, target.doubles, profile.name)
    names = ("on_chip_bytes", "group", "float64", "profile")
    return {
        "device": found.name,
        "description": found.description,
        **dict(zip(names, told, strict=True)),
        "reason": found.reason,
    }
