"""Counts the passes of ``onnx.backend.test``: RONN's and ONNX Runtime's in the same way, side by side.

    python -m ronn_testkit.onnx_backend --backend ronn --json ronn.json
    python -m ronn_testkit.onnx_backend --backend ronn --provider cpu --json native.json
    python -m ronn_testkit.onnx_backend --backend onnxruntime --json ort.json
    python -m ronn_testkit.onnx_backend --report ronn.json native.json ort.json --markdown docs/conformance.md
    python -m ronn_testkit.onnx_backend --all --json results.json --markdown docs/conformance.md
"""

from __future__ import annotations

import argparse
import json
import locale
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from ronn_testkit import onnx_cases

LOCALE = "en_US.UTF-8"


def backend_of(name: str, providers: Sequence[str] | None) -> Any:
    """The class or module that runs models: RONN on ``providers`` (None: its default), or ONNX Runtime."""
    if name == "onnxruntime":
        from onnxruntime.backend.backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend
    from ronn.compat.backend import Backend

    return type("Backend", (Backend,), {"providers": None if providers is None else list(providers)})


def has_locale() -> bool:
    """Whether the locale of onnx's StringNormalizer tests is installed; ONNX Runtime needs it for eight of them."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, LOCALE)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True


def measure(name: str, providers: Sequence[str] | None, groups: Sequence[str] | None) -> dict[str, Any]:
    """Runs the suite; returns versions, counts and the failures with their reasons."""
    started = time.perf_counter()
    results = onnx_cases.run(backend_of(name, providers), groups=groups)
    package = "onnxruntime" if name == "onnxruntime" else "ronn-core"
    if name == "onnxruntime":
        label = f"onnxruntime {metadata.version(package)}"
    else:
        alone = f"{providers[0]} alone" if providers is not None and len(providers) == 1 else ""
        label = "RONN, " + ("cpu with reference behind it" if providers is None else alone or " + ".join(providers))
    return {
        "label": label,
        "backend": name,
        "providers": None if providers is None else list(providers),
        "version": metadata.version(package),
        "suite": f"onnx {metadata.version('onnx')}",
        "locale_" + LOCALE: has_locale(),
        "seconds": round(time.perf_counter() - started, 1),
        "counts": onnx_cases.counts(results),
        "failed": {r.name: asdict(r) for r in results if not r.passed},
    }


def every_backend() -> list[dict[str, Any]]:
    """RONN by default, its cpu provider alone, and ONNX Runtime: each in a process of its own."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for index, arguments in enumerate(([], ["--provider", "cpu"], ["--backend", "onnxruntime"])):
            path = Path(folder) / f"{index}.json"
            command = [sys.executable, "-W", "ignore", "-m", "ronn_testkit.onnx_backend", *arguments]
            subprocess.run([*command, "--json", str(path)], check=True)
            runs.append(json.loads(path.read_text()))
    return runs


def markdown(runs: Sequence[dict[str, Any]]) -> str:
    """The counts side by side, and what the first run fails, with its reason."""
    groups = [*onnx_cases.GROUPS.values(), "total"]
    first = runs[0]
    lines = [
        "# ONNX conformance",
        "",
        f"`onnx.backend.test` of {first['suite']}, CPU half: passes by group. `nox -s conformance` makes this page.",
        "",
        "| backend | " + " | ".join(f"{g} (of {first['counts'].get(g, {}).get('total', 0)})" for g in groups) + " |",
        "| --- |" + " ---: |" * len(groups),
    ]
    for run in runs:
        cells = [str(run["counts"].get(g, {}).get("passed", 0)) for g in groups]
        lines.append(f"| {run['label']} | " + " | ".join(cells) + " |")
    lines.append("")
    if not all(run["locale_" + LOCALE] for run in runs):
        lines += [f"The locale {LOCALE} was not installed; ONNX Runtime needs it for eight StringNormalizer tests.", ""]
    others = [run for run in runs[1:] if run["backend"] != first["backend"]]
    lines += [f"## What {first['label']} does not pass ({len(first['failed'])})", ""]
    lines += ["| test | group | reason | " + " | ".join(r["label"] for r in others) + " |"]
    lines += ["| --- | --- | --- |" + " --- |" * len(others)]
    for name, failure in sorted(first["failed"].items()):
        reason = explain(name, failure["reason"]).replace("|", "\\|")
        theirs = ["fails" if name in r["failed"] else "passes" for r in others]
        lines.append(f"| {name} | {failure['group']} | {reason} | " + " | ".join(theirs) + " |")
    return "\n".join(lines) + "\n"


REASONS = {
    "test_bernoulli": "random: the expected output is one draw of another generator",
    "test_loop16_seq_none": "the suite cannot compare sequences of 0-d tensors: TypeError for the right answer",
    "test_gradient_of": "Gradient differentiates the graph around it: a training operator, RONN runs inference",
}
"""What stands behind failures that an error message does not explain, by the beginning of the test's name."""


def explain(name: str, reason: str) -> str:
    """The reason in words, where one is known; else the error."""
    return next((text for start, text in REASONS.items() if name.startswith(start)), reason)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Prints the counts."""
    parser = argparse.ArgumentParser(prog="python -m ronn_testkit.onnx_backend", description=__doc__)
    parser.add_argument("--backend", choices=["ronn", "onnxruntime"], default="ronn")
    parser.add_argument("--provider", action="append", help="a provider, in order of preference (default: RONN's own)")
    parser.add_argument("--group", action="append", choices=list(onnx_cases.GROUPS.values()), help="only this group")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--report", nargs="+", type=Path, metavar="JSON", help="results to compare instead of running")
    parser.add_argument("--all", action="store_true", help="run the default, cpu alone and onnxruntime, and compare")
    parser.add_argument("--markdown", type=Path, help="write the comparison here")
    given = parser.parse_args(arguments)
    if given.report or given.all:
        runs = every_backend() if given.all else [json.loads(p.read_text()) for p in given.report]
        text = markdown(runs)
        if given.markdown is not None:
            given.markdown.write_text(text)
        if given.json is not None:
            given.json.write_text(json.dumps(runs, indent=1) + "\n")
        sys.stdout.write(text if given.markdown is None else text.split("\n## ")[0] + "\n")
        return 0
    result = measure(given.backend, given.provider, given.group)
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(f"{result['label']}: {json.dumps(result['counts'])} in {result['seconds']} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
