"""Writes support.md, operators by provider, from schemas, kernels, lowerings and the list of tests that pass:
`python docs/support.py`. A test holds the page to what this would write."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx.backend.test.case.node import collect_testcases

PAGE = Path(__file__).parent / "support.md"
PASSES = Path(__file__).parent.parent / "packages" / "ronn-provider-cpu" / "tests" / "passes.txt"


@dataclass
class Row:
    """One operator: how the cpu provider runs it, whether the reference does, and its tests (passed alone, with the
    reference behind, all)."""

    op: str
    since: int
    cpu: str
    reference: bool
    alone: int = 0
    behind: int = 0
    tests: int = 0


def rows() -> dict[str, list[Row]]:
    """Rows by domain, in order of names; operators that ONNX has withdrawn are left out."""
    from ronn.ops.contrib.schemas import SCHEMAS
    from ronn.plugins import registry
    from ronn.provider import KernelProvider
    from ronn.providers.reference import CONTROL_FLOW, _implemented, _own_kernels
    from ronn_provider_cpu.lowering import TABLE
    from ronn_testkit.passes import PassList

    cpu = registry().get("cpu").provider
    assert isinstance(cpu, KernelProvider)
    kernels = {(k.domain, k.op) for k in cpu.kernel_set}
    reference = {(k.domain, k.op) for k in _own_kernels()}
    native = set(TABLE.all())
    listed = PassList.read(PASSES)
    cases = _cases()
    found: dict[str, list[Row]] = {}
    for domain, op, since, has_body in _operators(SCHEMAS):
        key = (domain, op)
        control = domain == "" and op in CONTROL_FLOW
        how = (
            "plan" if control
            else "native" if key in native and key in kernels
            else "NumPy" if key in kernels
            else "expanded" if has_body
            else "-"
        )  # fmt: skip
        row = Row(op, since, how, control or key in reference or _implemented(domain, op, since))
        for name in cases.get(key, ()):
            row.tests += 1
            row.alone += name in listed.native
            row.behind += name in listed.fallback
        found.setdefault(domain or "ai.onnx", []).append(row)
    return found


def _operators(contrib: dict[str, Any]) -> Iterator[tuple[str, str, int, bool]]:
    for schema in sorted(onnx.defs.get_all_schemas(), key=lambda s: (s.domain, s.name)):
        if not schema.deprecated:
            body = schema.has_function or schema.has_context_dependent_function
            yield schema.domain, schema.name, schema.since_version, body
    for op in sorted(contrib):
        yield "com.microsoft", op, 1, False


def _cases() -> dict[tuple[str, str], list[str]]:
    """The node tests of onnx by operator; those of several nodes are of the operator that they expand, and left out."""
    found: dict[tuple[str, str], list[str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the cases divides by zero, on purpose
        cases = collect_testcases(None)
    for case in cases:
        nodes = case.model.graph.node
        if len(nodes) == 1:
            found.setdefault((nodes[0].domain, nodes[0].op_type), []).append(case.name)
    return found


def page() -> str:
    from importlib import metadata

    by_domain = rows()
    every = [row for found in by_domain.values() for row in found]
    counts = Counter(row.cpu for row in every)
    lines = [
        "<!-- Written by docs/support.py: do not edit. -->",
        "",
        "# Operators by provider",
        "",
        f"Every operator that onnx {metadata.version('onnx')} defines, and those of `com.microsoft` that published models use:",
        f"{len(every)} in all. `cpu` has native kernels for {counts['native']} and NumPy kernels for {counts['NumPy']};",
        f"{counts['plan']} are control flow, which the plan runs on any provider; the others are left to `reference`.",
        "",
        "| column | what it says |",
        "| --- | --- |",
        "| since | the newest version of the operator; [older ones](operators.md) run too |",
        "| cpu | *native*: machine code, where sizes and types allow it ([exceptions](native.md)), else NumPy; *NumPy*: a kernel in",
        "NumPy; *plan*: control flow, run by the plan; *expanded*: into the operators of its definition; -: not |",
        "| tests, cpu alone | ONNX's own tests of the operator that pass with nothing behind cpu, of all there are |",
        "| tests, with reference | the same with the `reference` provider behind it, which is the default |",
        "| reference | whether `reference` has it: the slow oracle, and the fallback |",
        "",
        "A third provider, `null`, takes every operator and computes nothing: for measuring the runtime itself. The lists are",
        "[conformance manifests](conformance.md): a test that stops passing, or starts to, fails the build. Where a model of yours",
        "runs is said by `ronn explain MODEL`, and by `ronn check MODEL` before it is loaded.",
    ]
    lines = _joined(lines)
    for domain in sorted(by_domain):
        lines += ["", f"## {domain}", ""]
        lines.append("| operator | since | cpu | tests, cpu alone | tests, with reference | reference |")
        lines.append("| --- | ---: | --- | ---: | ---: | --- |")
        for row in by_domain[domain]:
            alone = f"{row.alone} of {row.tests}" if row.tests else ""
            behind = f"{row.behind} of {row.tests}" if row.tests else ""
            has = "yes" if row.reference else "-"
            lines.append(f"| {row.op} | {row.since} | {row.cpu} | {alone} | {behind} | {has} |")
    return "\n".join(lines)


def _joined(lines: list[str]) -> list[str]:
    """Table rows that go over two lines of source as one."""
    out: list[str] = []
    for line in lines:
        if out and out[-1].startswith("| ") and not out[-1].endswith("|"):
            out[-1] += " " + line
        else:
            out.append(line)
    return out


if __name__ == "__main__":
    PAGE.write_text(page() + "\n", encoding="utf-8")
