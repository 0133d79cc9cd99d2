"""``ronn doctor``: versions, machine, providers, settings: what a bug report needs, and what explains a surprise."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

from ronn.cli.common import JsonOpt, add, console, table, write_json

PACKAGES = ("onnx", "numpy", "ml_dtypes", "pluggy", "numba", "onnxruntime", "pillow")


def doctor(json: JsonOpt = False) -> None:
    """Tell what RONN finds here: versions, processor and threads, providers (broken ones and why), settings, cache.

    Nothing is sent anywhere; the report is for you, or for a bug report.
    """
    data = facts()
    if json:
        write_json(data)
    else:
        show(data)


def facts() -> dict[str, Any]:
    """The whole report as plain data."""
    from ronn import host
    from ronn import threads as number_of_threads
    from ronn.cli.providers import provider_rows
    from ronn.ops.custom import registered

    cache = host.cache_folder()
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": versions(),
        "cpu": host.cpu(),
        "threads": number_of_threads.found(),
        "providers": provider_rows(),
        "operators": [{"op": o.op_id, "version": o.since, "where": o.where} for o in registered()],
        "knobs": knob_rows(),
        "cache": {"folder": str(cache), "exists": cache.is_dir(), "bytes": _size_of(cache)},
    }


def versions() -> dict[str, str]:
    """Installed versions of RONN's packages and of those that matter to it."""
    # The name of a distribution whose files are damaged is None.
    found = {d.name: d.version for d in metadata.distributions() if d.name is not None}
    own = {name: version for name, version in found.items() if name == "ronn" or name.startswith("ronn-")}
    others = {}
    for name in PACKAGES:
        try:
            others[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            others[name] = "not installed"
    return {**dict(sorted(own.items())), **others}


def knob_rows() -> list[dict[str, Any]]:
    """Every RONN_* setting; also variables of that prefix which nothing reads."""
    from ronn import knobs
    from ronn.errors import OptionError

    rows = []
    for knob in knobs.all_knobs():
        row = {"name": knob.name, "set": knob.is_set, "value": knob.default, "help": knob.help, "problem": ""}
        try:
            row["value"] = knob.get()
        except OptionError as e:
            row["problem"] = e.message
        rows.append(row)
    declared = {row["name"] for row in rows}
    foreign = [n for n in os.environ if n.startswith("RONN_") and not n.startswith("RONN_ZOO")]
    unread = sorted(n for n in foreign if n not in declared)
    return rows + [
        {"name": n, "set": True, "value": os.environ[n], "help": "", "problem": "nothing reads this"} for n in unread
    ]


def _size_of(folder: Any) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.is_dir() else 0


def show(data: dict[str, Any]) -> None:
    from ronn.cli.common import size_text
    from ronn.cli.providers import reasons

    out = console()
    about = table("Environment", "what", "value")
    add(about, "python", f"{data['python']} ({data['executable']})")
    add(about, "system", data["system"])
    for name, version in data["packages"].items():
        add(about, name, version)
    cpu, threads, cache = data["cpu"], data["threads"], data["cache"]
    add(about, "processor", f"{cpu['name']} ({cpu['machine']})")
    add(about, "features", " ".join(cpu["features"]) or "not told by this system")
    sources = ", ".join(f"{name} {n:g}" for name, n in threads["sources"].items())
    add(about, "threads", f"{threads['number']}, from {threads['from']} ({sources})")
    size = size_text(cache["bytes"]) if cache["exists"] else "not there yet"
    add(about, "cache", f"{cache['folder']} ({size})")
    out.print(about)
    providers = table("Providers", "name", "status", "version", "package", "devices or reason")
    for row in data["providers"]:
        told = ", ".join(row["devices"]) if row["ok"] else ""
        detail = "; ".join(filter(None, (told, reasons(row))))
        add(providers, row["name"], "ok" if row["ok"] else "UNUSABLE", row["version"], row["distribution"], detail)
    out.print(providers)
    if data["operators"]:
        operators = table("Operators registered with ronn.op", "operator", "version", "where")
        for row in data["operators"]:
            add(operators, row["op"], row["version"], row["where"])
        out.print(operators)
    settings = table("Settings of the environment", "name", "value", "what it does")
    for row in data["knobs"]:
        value = f"{row['value']!r}" if row["set"] else f"{row['value']!r} (default)"
        add(settings, row["name"], value, row["problem"] or row["help"])
    out.print(settings)
