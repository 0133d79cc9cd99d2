"""``ronn passes``: every pass, what it does, and which optimization level runs it."""

from __future__ import annotations

from typing import Any

from ronn.cli.common import JsonOpt, add, console, table, write_json


def passes(json: JsonOpt = False) -> None:
    """List the passes: what each does, at which optimization levels and stages it runs, whether a session needs it."""
    rows = pass_rows()
    if json:
        write_json(rows)
        return
    shown = table("Passes, in the order in which they first run", "pass", "runs at", "", "what it does")
    for row in rows:
        where = "; ".join(f"{level}: {', '.join(stages)}" for level, stages in row["runs"].items())
        add(shown, row["name"], where, "required" if row["required"] else "", row["summary"])
    console().print(shown)


def pass_rows() -> list[dict[str, Any]]:
    """Name, summary, levels -> stages, and whether it is required, of every pass of RONN's own and of plugins."""
    from ronn.passes.manager import Group
    from ronn.passes.pipelines import Stage, all_passes, names, pipeline
    from ronn.plugins import registry

    stages: tuple[Stage, ...] = ("portable", "specialised")
    runs: dict[str, dict[str, list[str]]] = {name: {} for name in all_passes()}
    for level in names():
        for stage in stages:
            for item in pipeline(level, stage):
                for p in item.passes if isinstance(item, Group) else (item,):
                    where = runs[p.name].setdefault(level, [])
                    if stage not in where:
                        where.append(stage)
    found = dict(all_passes())
    for where_plugged in (*stages, "late"):
        for group in registry().manager.hook.ronn_passes(stage=where_plugged):
            for p in group:
                found[p.name] = p
                runs.setdefault(p.name, {}).setdefault("every level", []).append(where_plugged)
    return [
        {
            "name": name,
            "summary": _summary(p),
            "runs": runs[name],
            "required": bool(getattr(p, "required", False)),
        }
        for name, p in found.items()
    ]


def _summary(p: Any) -> str:
    text = str(getattr(p, "summary", (p.__doc__ or "").strip().partition("\n")[0]))
    # A pass made of rules tells each rule's algebra; variants of one pattern tell the same.
    return "; ".join(dict.fromkeys(text.split("; ")))
