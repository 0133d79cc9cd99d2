"""Passes of the provider are imported when a graph has an operator that they are about."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from ronn.ir.graph import Graph, Node
from ronn.passes.deferred import DeferredPass
from ronn.passes.manager import PassContext
from ronn_provider_cpu.passes import CLASSICAL, LATE, QUANTISED
from ronn_provider_cpu.provider import CpuProvider

DEFERRED = (*QUANTISED, *CLASSICAL, *LATE)


@pytest.mark.parametrize("deferred", DEFERRED, ids=lambda p: p.name)
def test_what_is_said_of_a_pass_is_so(deferred: DeferredPass) -> None:
    loaded = deferred.loaded
    told = [f.name for f in fields(loaded) if f.name != "fn"]
    assert {n: getattr(deferred, n) for n in told} == {n: getattr(loaded, n) for n in told}
    assert deferred.summary == loaded.summary and deferred.summary


@pytest.mark.parametrize("deferred", DEFERRED, ids=lambda p: p.name)
def test_it_runs_where_there_is_such_an_operator_only(deferred: DeferredPass, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Graph] = []
    monkeypatch.setitem(deferred.__dict__, "loaded", lambda graph, context: not ran.append(graph))

    def graph(op: str) -> Graph:
        made = Graph("g")
        made.append(Node(op, [], [], version=1))
        return made

    assert not deferred(graph("Relu"), PassContext()) and not ran
    for op in deferred.about:
        inner, outer = graph(op), Graph("outer")
        outer.append(Node("If", [], [], {"then_branch": inner}, version=1))
        assert deferred(inner, PassContext()) and deferred(outer, PassContext())
    assert len(ran) == 2 * len(deferred.about)


def test_a_plain_model_imports_none_of_them() -> None:
    text = """
import sys
import numpy as np, onnx, ronn
header = '<ir_version: 9, opset_import: ["": 17]>'
model = onnx.parser.parse_model(header + "g (float[N] x) => (float[N] y) { y = Relu(x) }")
print(ronn.Session(model).run(np.float32([-1, 2]))[0].tolist())
print(*sorted(m for m in sys.modules if m.startswith("ronn_provider_cpu.passes.")))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[0.0, 2.0]", "ronn_provider_cpu.passes.widen_half"]


def test_each_pass_of_the_provider_has_a_name_of_its_own() -> None:
    names = [p.name for p in CpuProvider().passes(CpuProvider().devices()[0])]
    assert len(names) == len(set(names)) == len(DEFERRED) + 1
