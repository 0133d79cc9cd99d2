"""What a conformance run found: JSON, a Markdown table of operators, a badge."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ronn_testkit.checks import NOT_YET


@dataclass
class Findings:
    """The results for one provider."""

    provider: str
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    onnx: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)


def coverage(provider: str) -> list[dict[str, Any]]:
    """For each operator that the kit has a recipe for: the dtypes that the provider claims, and those it refuses."""
    from ronn_testkit.checks import probe
    from ronn_testkit.recipes import RECIPES
    from ronn_testkit.subject import NotApplicable, Subject

    subject = Subject(provider)
    with subject.registered():
        try:
            taken = {(recipe.op, dtype) for recipe, dtype in probe.claimed(subject)}
        except NotApplicable:
            taken = set()
    return [
        {
            "op": recipe.op,
            "claimed": [d for d in recipe.dtypes if (recipe.op, d) in taken],
            "refused": [d for d in recipe.dtypes if (recipe.op, d) not in taken],
        }
        for recipe in sorted(RECIPES.values(), key=lambda r: r.op)
    ]


def write(findings: Findings, folder: Path, *, operators: list[dict[str, Any]], timings: list[dict[str, Any]]) -> None:
    """Writes ``<provider>.json``, ``.md`` and ``.svg`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "provider": findings.provider,
        "versions": {name: metadata.version(name) for name in ("ronn-core", "ronn-testkit", "onnx")},
        "passed": findings.passed,
        "failed": findings.failed,
        "not_applicable": findings.not_applicable,
        "not_yet": NOT_YET,
        "onnx": findings.onnx,
        "operators": operators,
        "timings": timings,
    }
    stem = folder / findings.provider
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(record), encoding="utf-8")
    stem.with_suffix(".svg").write_text(badge(findings), encoding="utf-8")


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    lines = [f"# Conformance of provider `{record['provider']}`", ""]
    lines += [", ".join(f"{k} {v}" for k, v in record["versions"].items()), ""]
    for kind, by_group in record["onnx"].items():
        cells = ", ".join(f"{group} {c['passed']}/{c['total']}" for group, c in by_group.items())
        lines += [f"- ONNX tests, {kind}: {cells}"]
    lines += ["", "| check | result |", "| --- | --- |"]
    lines += [f"| {name} | passed |" for name in record["passed"]]
    lines += [f"| {name} | **failed**: {_cell(why)} |" for name, why in record["failed"].items()]
    lines += [f"| {name} | not applicable: {_cell(why)} |" for name, why in record["not_applicable"].items()]
    lines += [f"| {name} | not applicable yet: {_cell(why)} |" for name, why in record["not_yet"].items()]
    lines += ["", "| operator | claimed dtypes | refused dtypes |", "| --- | --- | --- |"]
    lines += [f"| {o['op']} | {' '.join(o['claimed'])} | {' '.join(o['refused'])} |" for o in record["operators"]]
    if record["timings"]:
        lines += ["", "Times are a report, never a verdict.", "", "| operator | provider, µs | reference, µs | ratio |"]
        lines += ["| --- | ---: | ---: | ---: |"]
        lines += [
            f"| {t['op']} | {t['provider_us']:.0f} | {t['reference_us']:.0f} | {t['ratio']:.2f}"
            f"{' (slow)' if t['slow'] else ''} |"
            for t in record["timings"]
        ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:300]


def badge(findings: Findings) -> str:
    """An SVG with the figures: green when nothing failed."""
    native = findings.onnx.get("native", {}).get("total", {})
    right = f"{native.get('passed', 0)}/{native.get('total', 0)} native" if native else f"{len(findings.passed)} checks"
    left, colour = f"ronn {findings.provider}", "#e05d44" if findings.failed else "#4c1"
    a, b = 7 * len(left) + 12, 7 * len(right) + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{a + b}" height="20" role="img" aria-label="{left}: {right}">'
        f'<rect width="{a}" height="20" fill="#555"/><rect x="{a}" width="{b}" height="20" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{a // 2}" y="14">{left}</text><text x="{a + b // 2}" y="14">{right}</text></g></svg>\n'
    )
