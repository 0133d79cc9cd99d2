"""Writes native.md: which node tests of onnx.backend.test the CPU provider runs on native kernels alone, and why it does
not run the others so. `python docs/native.py`; runs the suite once."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

import ronn
from ronn.errors import PlacementError
from ronn.ir.graph import Graph, Node
from ronn.ir.types import TensorType
from ronn.plan.tail import Tail
from ronn_provider_cpu.compiling import level, native_library
from ronn_provider_cpu.lowering import Context, Refused, context, lower_node

PAGE = Path(__file__).parent / "native.md"
RANDOM = frozenset(
    {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
)
CONTROL = frozenset({"If", "Loop", "Scan"})
"""Run by the plan, which takes no provider for them: the nodes inside count."""


def apart(graph: Graph) -> str:
    """Why a test does not count among those that concern tensors; empty when it does."""
    for values in (graph.values(), *(sub.values() for node in graph for sub in node.subgraphs())):
        for value in values:
            if value.type is not None and not isinstance(value.type, TensorType):
                return "sequences, optional values, maps"
            if value.dtype is not None and value.dtype.bits == 0:
                return "strings"
    return "random numbers" if any(node.op in RANDOM for node in graph) else ""


def not_native(session: ronn.Session) -> Iterator[tuple[str, str]]:
    """The nodes of the plans of the last run that NumPy kernels ran, by operator, and why."""
    library = native_library()
    assert library is not None
    plan = next(reversed(session._base._plans.values()))
    for call in (call for p in plan.all_plans() for call in p.calls):
        if call.native is None and not isinstance(call.fn, Tail):
            for node in call.nodes:
                if node.op not in CONTROL:
                    yield node.op_id.partition(" ")[0], reason(node, context(library))


def reason(node: Node, context: Context) -> str:
    try:
        lower_node(node, context)
    except Refused as e:
        text = str(e)
    else:
        return "in a group of nodes"
    return "sizes that are not known before it runs" if "has no known size" in text else text


def tests() -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Name of a test, why it stands apart, and what of it is not native."""
    for case in collect_testcases(None):
        graph = ronn.Model.load(case.model).graph
        other = apart(graph)
        if other:
            yield case.name, other, []
            continue
        try:
            session = ronn.Session(case.model, providers=["cpu"])
        except PlacementError:
            yield case.name, "", [(next(n.op for n in graph), "no kernel of this provider: runs on `reference`")]
            continue
        session.run([array_of(v) for v in case.data_sets[0][0]])
        yield case.name, "", sorted(set(not_native(session)))


def array_of(value: Any) -> Any:
    """A value of a test's data as an array where it is a tensor."""
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def page(results: Iterable[tuple[str, str, list[tuple[str, str]]]]) -> str:
    found = list(results)
    whole = [r for r in found if not r[1]]
    native = sum(not parts for _, _, parts in whole)
    kinds = [other for _, other, _ in found if other]
    beside = ", ".join(f"{kinds.count(kind)} of {kind}" for kind in sorted(set(kinds)))
    lines = [
        "<!-- Written by docs/native.py: do not edit. -->",
        "",
        "# What runs natively",
        "",
        f"Of the {len(found)} node tests of onnx {metadata.version('onnx')}, {len(whole)} concern tensors (apart: {beside}).",
        f"The CPU provider alone, with passes as they are by default, runs {native} of these, {native / len(whole):.1%},",
        "on native kernels, every node of them. In the others some nodes run on NumPy kernels:",
        "",
        *table(whole),
    ]
    return "\n".join(lines) + "\n"


def table(results: Iterable[tuple[str, str, list[tuple[str, str]]]]) -> list[str]:
    """What is not native by operator and reason, with the first tests that want it."""
    left: dict[tuple[str, str], list[str]] = {}
    for name, _, parts in results:
        for part in parts:
            left.setdefault(part, []).append(name)
    lines = ["| operator | why | tests |", "| --- | --- | --- |"]
    for (op, why), names in sorted(left.items()):
        shown = ", ".join(f"`{n}`" for n in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"| {op} | {why.replace('|', chr(92) + '|')} | {shown} |")
    return lines


def main() -> int:
    warnings.simplefilter("ignore")
    if level() == "none":
        print("native kernels are off here", file=sys.stderr)
        return 1
    text = page(tests())
    PAGE.write_text(text, encoding="utf-8")
    print("\n".join(text.splitlines()[4:7]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
