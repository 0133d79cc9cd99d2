"""What the CPU provider tells: generated source at rung 4, kernels compiled and found in the cache, fallbacks."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn import events

X = np.array([[-1, 2, 3]], np.float32)


def model(*nodes: Any) -> bytes:
    io = [h.make_tensor_value_info(n, T.FLOAT, ["N", 3]) for n in "xy"]
    made = h.make_model(h.make_graph(list(nodes), "g", io[:1], io[1:]), opset_imports=[h.make_opsetid("", 18)])
    made.ir_version = 9
    return made.SerializeToString()


def pointwise() -> bytes:
    return model(h.make_node("Exp", ["x"], ["e"]), h.make_node("Neg", ["e"], ["y"], name="last"))


def test_rung_4_prints_the_source_of_what_runs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RONN_DEBUG", "3")
    ronn.Session(pointwise(), providers=["cpu"]).run(X)
    assert "define void" not in capfd.readouterr().err
    monkeypatch.setenv("RONN_DEBUG", "4")
    ronn.Session(pointwise(), providers=["cpu"]).run(X)
    told = capfd.readouterr().err
    assert re.search(r"--- Exp '.*', Neg 'last'\n", told), "the nodes that the kernel is for"
    assert re.search(r"%\d+: f32 = exp %\d+\n", told), "the loop"
    assert re.search(r'define void @"kernel"\(ptr .*\)', told), "LLVM IR"


@pytest.fixture
def seen() -> Any:
    found: list[events.Event] = []
    with events.subscribe(found.append, ["KernelsCompiled", "CacheHit", "CacheMiss", "PlanMade"]):
        yield found


def test_kernels_that_are_compiled_and_found_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[events.Event]
) -> None:
    from ronn_codegen.native.library import _library

    monkeypatch.setenv("RONN_CACHE_DIR", str(tmp_path))
    source = pointwise()
    for again in (False, True):
        _library.cache_clear()
        seen.clear()
        ronn.Session(source, providers=["cpu"]).run(X)
        kinds = [e.kind for e in seen]
        (plan,) = (e for e in seen if isinstance(e, events.PlanMade))
        compiled = [k for e in seen if isinstance(e, events.KernelsCompiled) for k in e.kernels]
        if again:
            assert compiled == [] and "CacheMiss" not in kinds and plan.compiles == 0
            hits = {e.name for e in seen if isinstance(e, events.CacheHit)}
            assert any(name.startswith("loop-") for name in hits) and any(name.startswith("executor-") for name in hits)
        else:
            assert any(name.startswith("loop-") for name in compiled) and plan.compiles == len(compiled)
            assert [e.name for e in seen if isinstance(e, events.CacheMiss)] == compiled
            assert "CacheHit" not in kinds
    _library.cache_clear()


def test_nodes_that_fall_back_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    from ronn.plugins import registry
    from ronn.provider import KernelProvider, kernel

    class Toy(KernelProvider):
        name = "toy"

        @kernel("Exp", since=6)
        def exp(self, ctx, x):
            return np.exp(x)

    registry().add(Toy())
    try:
        found: list[Any] = []
        with caplog.at_level(logging.INFO, "ronn"), events.subscribe(found.append, events.ProviderFellBack):
            session = ronn.Session(pointwise(), providers=["toy", "cpu", "reference"])
            session.run(X)
            session.run(np.repeat(X, 2, axis=0))
            session.run(X, trace=["e"])
        (event,) = found
        assert (event.session, event.provider, event.to, event.nodes) == (session.number, "toy", "cpu", 1)
        assert "Neg 'last'" in event.reason
        (record,) = (r for r in caplog.records if r.name == "ronn.providers")
        assert record.levelno == logging.INFO
        assert "1 node fell back from toy to cpu" in record.getMessage()
        caplog.clear()
        ronn.Session(pointwise(), providers=["toy", "reference"]).run(X)
        assert [r.levelno for r in caplog.records] == [logging.WARNING], "the reference is slow: a warning"
    finally:
        registry().remove("toy")
