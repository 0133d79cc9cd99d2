"""``ronn check --min-version``, ``--opset`` and ``--for``: versions that a model needs, and what of it others lack."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from ronn._version import __version__
from ronn.cli import EXIT_UNSUPPORTED
from ronn.cli.common import add, console, table, write_json
from ronn.cli.written import tell
from ronn.errors import OptionError
from ronn.ops.schema import max_opset
from ronn.tools import versions


def check_versions(model: Path, min_version: bool, opset: int | None, release: str | None, json: bool) -> None:
    """What was asked for, printed; exit code 3 where something is missing."""
    from ronn.model import Model

    loaded = Model.load(model)
    data: dict[str, Any] = {"model": str(model)}
    missing: list[versions.Missing] = []
    if min_version:
        needs = versions.needs(loaded.ir)
        data["needs"] = asdict(needs)
        if not json:
            show_needs(needs)
    if opset is not None:
        newest = max_opset("")
        if not 1 <= opset <= newest:
            raise OptionError(f"there is no opset {opset}", hint=f"the newest that is known here is {newest}")
        found = versions.missing(loaded.ir, opset)
        missing += found
        data["opset"] = {"version": opset, "missing": [asdict(m) for m in found]}
        if not json:
            show_missing(found, f"opset {opset}")
    if release is not None:
        wanted = versions.release(release)
        found = versions.missing_for(loaded.ir, wanted)
        missing += found
        data["release"] = {**asdict(wanted), "missing": [asdict(m) for m in found]}
        if not json:
            limits = f"opset {wanted.opset}, ai.onnx.ml {wanted.ml_opset}, IR {wanted.ir}; {wanted.source}"
            show_missing(found, f"onnxruntime {wanted.name} ({limits})")
    if json:
        write_json(data)
    if missing:
        raise typer.Exit(EXIT_UNSUPPORTED)


def show_needs(needs: versions.Needs) -> None:
    shown = table("versions", "of", "stamped", "needed", "by")
    for domain in dict.fromkeys((*needs.stamped, *needs.opsets)):
        need = needs.opsets.get(domain)
        name = f"opset of {domain if domain else 'ai.onnx'}"
        stamped = needs.stamped.get(domain, "")
        add(shown, name, stamped, "" if need is None else need.version, "nothing" if need is None else need.why)
    add(shown, "IR version", needs.stamped_ir, needs.ir.version, needs.ir.why)
    as_it_is = needs.onnxruntime if needs.onnxruntime is not None else "none known"
    restamped = needs.onnxruntime_restamped if needs.onnxruntime_restamped is not None else "none known"
    add(shown, "onnxruntime", as_it_is, restamped, "its opsets and IR version; needed: after `ronn convert`")
    add(shown, "ronn", "any", "any", f"every opset up to {max_opset('')} (this is ronn-core {__version__})")
    console().print(shown)
    if needs.own:
        tell(f"domains of its own, for which a provider or @ronn.op is needed: {', '.join(needs.own)}")


def show_missing(found: list[versions.Missing], what: str) -> None:
    if not found:
        tell(f"nothing is missing for {what}")
        return
    shown = table(f"{len(found)} thing(s) that {what} lacks", "node", "operator", "why", "what helps")
    for m in found:
        add(shown, m.node, m.op, m.why, m.hint)
    console().print(shown)
