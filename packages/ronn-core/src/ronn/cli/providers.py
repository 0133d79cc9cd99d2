"""``ronn providers``: what discovery found, and why something is unusable."""

from __future__ import annotations

from typing import Any

from ronn.cli.common import JsonOpt, add, console, table, write_json


def providers(json: JsonOpt = False) -> None:
    """List the installed providers: version, package, devices, and the reason of each that cannot be used."""
    rows = provider_rows()
    if json:
        write_json(rows)
        return
    shown = table("Providers", "name", "status", "version", "package", "devices", "reason")
    for row in rows:
        status = "ok" if row["ok"] else "unusable"
        add(shown, row["name"], status, row["version"], row["distribution"], ", ".join(row["devices"]), reasons(row))
    console().print(shown)


def reasons(row: dict[str, Any]) -> str:
    """Why the provider, or some of its devices, cannot be used."""
    told = [row["reason"]] if row["reason"] else []
    return "; ".join([*told, *(f"{name}: {why}" for name, why in row["unusable"].items() if why not in row["reason"])])


def provider_rows() -> list[dict[str, Any]]:
    """One row a record of the registry; every provider is asked for its devices."""
    from ronn.plugins import registry

    rows = []
    for record in registry().records:
        devices = [f"{d.name} ({d.description})" if d.description else d.name for d in record.devices()]
        unusable = record.unusable()
        rows.append(
            {
                "name": record.name,
                "ok": record.ok,
                "version": record.version,
                "distribution": record.distribution,
                "target": record.target,
                "devices": devices,
                "unusable": unusable,
                "reason": record.reason,
            }
        )
    return rows
