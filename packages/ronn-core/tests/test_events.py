"""Events: what is told, in which order, with which numbers; listeners cannot harm what they are told of."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn import events, listeners
from ronn.plan.stop import Stop
from ronn.plugins import registry
from ronn.provider import KernelProvider, kernel

X = np.array([-1, 2], np.float32)


def model(op: str = "Relu", dims: list[int | str] | None = None) -> bytes:
    io = [h.make_tensor_value_info(n, T.FLOAT, ["N"] if dims is None else dims) for n in "xy"]
    nodes = [h.make_node(op, ["x"], ["i"], name="first"), h.make_node("Neg", ["i"], ["y"], name="second")]
    made = h.make_model(h.make_graph(nodes, "g", io[:1], io[1:]), opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    return made.SerializeToString()


def session(**options: Any) -> ronn.Session:
    return ronn.Session(model(), providers=["reference"], options=options)


@pytest.fixture
def seen() -> Iterator[list[Any]]:
    registry()  # else what happens before discovery is told twice as much about
    found: list[Any] = []
    with events.subscribe(found.append):
        yield found


def kinds(found: list[Any]) -> list[str]:
    return [e.kind for e in found]


# --- what is told


def test_the_life_of_a_session(seen: list[Any]) -> None:
    with session() as s:
        s.run(X)
        s.run(X)
        s.run(np.float32([1, 2, 3]))
    assert kinds(seen) == [
        "ModelLoaded", "SessionCreated",
        "RunStarted", "PlanMade", "RunFinished",
        "RunStarted", "RunFinished",
        "RunStarted", "PlanMade", "RunFinished",
        "SessionClosed",
    ]  # fmt: skip
    loaded, created = seen[:2]
    assert (loaded.model, loaded.nodes) == ("<bytes>", 2)
    assert created.providers == ("reference",) and created.session == s.number
    started = [e for e in seen if e.kind == "RunStarted"]
    finished = [e for e in seen if e.kind == "RunFinished"]
    plans = [e for e in seen if e.kind == "PlanMade"]
    assert [e.run for e in started] == [e.run for e in finished] == sorted({e.run for e in started})
    assert [e.signature for e in finished] == ["f32[2]", "f32[2]", "f32[3]"]
    assert [(p.signature, p.run) for p in plans] == [("f32[2]", started[0].run), ("f32[3]", started[2].run)]
    assert all(e.session == s.number for e in seen[1:])
    assert [e.at for e in seen] == sorted(e.at for e in seen)
    for start, end in zip(started, finished, strict=True):
        assert 0 <= end.seconds <= end.at - start.at + 0.001 and end.started == pytest.approx(start.at, abs=0.5)
    s.close()
    assert kinds(seen).count("SessionClosed") == 1


def test_plans_made_ahead_belong_to_no_run(seen: list[Any]) -> None:
    ronn.Session(model(dims=[2]), providers=["reference"])
    (plan,) = (e for e in seen if e.kind == "PlanMade")
    assert plan.run is None and not plan.tail


def test_runs_that_fail(seen: list[Any]) -> None:
    class Breaks(KernelProvider):
        name = "breaks"

        @kernel("Relu", since=6)
        def relu(self, ctx, x):
            raise RuntimeError("out of luck")

    registry().add(Breaks())
    try:
        s = ronn.Session(model(), providers=["breaks", "reference"])
        with pytest.raises(ronn.InputError):
            s.run({"z": X})
        with pytest.raises(ronn.ExecutionError):
            s.run(X)
    finally:
        registry().remove("breaks")
    wrong, failed = (e for e in seen if e.kind == "RunFailed")
    assert wrong.error == "InputError" and "'z'" in wrong.message and wrong.node == ""
    assert failed.error == "ExecutionError" and "out of luck" in failed.message and failed.node == "first"
    fallback = next(e for e in seen if e.kind == "ProviderFellBack")
    assert (fallback.provider, fallback.to, fallback.nodes) == ("breaks", "reference", 1)
    assert "second" in fallback.reason


def test_runs_that_are_stopped(seen: list[Any]) -> None:
    s = session()
    s.run(X)
    stop = Stop()
    stop.set()
    with pytest.raises(ronn.CancelledError):
        s.run(X, stop=stop)
    with pytest.raises(TimeoutError):
        s.run(X, timeout=0)
    cancelled, late = (e for e in seen if e.kind == "RunCancelled")
    assert (cancelled.reason, late.reason) == ("cancelled", "timeout")
    assert "timeout=0" in late.message
    s.run(X)
    assert seen[-1].kind == "RunFinished"


def test_memory_that_is_refused(seen: list[Any]) -> None:
    s = session(memory_limit=1000)
    with pytest.raises(ronn.MemoryLimitError):
        s.run(np.zeros(10_000, np.float32))
    refused = next(e for e in seen if e.kind == "MemoryRefused")
    assert refused.session == s.number and refused.limit == 1000 and refused.needed + refused.held > 1000
    assert seen[-1].kind == "RunFailed" and seen[-1].error == "MemoryLimitError"


def test_providers_that_fail_to_compile(seen: list[Any]) -> None:
    class Claims(KernelProvider):
        name = "claims"

        @kernel("Relu", since=6)
        def relu(self, ctx, x):
            return x

        def compile(self, part, device, options):
            raise OSError("no compiler")

    registry().add(Claims())
    try:
        with pytest.raises(ronn.ProviderError):
            ronn.Session(model(dims=[2]), providers=["claims", "reference"])
    finally:
        registry().remove("claims")
    failed = next(e for e in seen if e.kind == "ProviderFailed")
    assert failed.provider == "claims" and "no compiler" in failed.reason and "'first'" in failed.reason


def test_runs_of_several_threads_are_told_apart(seen: list[Any]) -> None:
    s = session()
    s.run(X)
    seen.clear()
    threads = [threading.Thread(target=lambda: [s.run(X) for _ in range(20)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    runs = [e.run for e in seen if e.kind == "RunFinished"]
    assert len(runs) == 80 == len(set(runs))
    assert sorted(runs) == sorted(e.run for e in seen if e.kind == "RunStarted")


def test_a_run_within_a_run_has_its_own_plan(seen: list[Any]) -> None:
    inner = session()

    class Nests(KernelProvider):
        name = "nests"

        @kernel("Relu", since=6)
        def relu(self, ctx, x):
            return inner.run(x)["y"]

    registry().add(Nests())
    try:
        outer = ronn.Session(model(), providers=["nests", "reference"])
        outer.run(X)
    finally:
        registry().remove("nests")
    started = {e.session: e.run for e in seen if e.kind == "RunStarted"}
    assert {e.session: e.run for e in seen if e.kind == "PlanMade"} == started
    assert listeners.current_run() is None


# --- records


def test_events_are_plain_frozen_records() -> None:
    event = events.RunFinished(1.5, 1, "m.onnx", 7, 0.0, 0.5, "f32[2]")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.seconds = 2  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(event)) == event and event.started == 1.0
    assert json.loads(json.dumps(event.as_dict())) == {
        "kind": "RunFinished", "at": 1.5, "session": 1, "model": "m.onnx", "run": 7, "queued": 0.0, "seconds": 0.5,
        "signature": "f32[2]",
    }  # fmt: skip


def test_every_kind_has_a_docstring_and_fields_with_types() -> None:
    assert set(events.kinds()) <= set(events.__all__)
    assert set(listeners.RUN_KINDS) == {k for k, c in events.kinds().items() if issubclass(c, events.RunEvent)}
    for name, kind in events.kinds().items():
        assert kind.__doc__ and kind.__name__ == name
        assert {f.type for f in dataclasses.fields(kind)} <= {
            "float", "int", "str", "bool", "int | None", "tuple[str, ...]",
        }  # fmt: skip


# --- listeners


def test_kinds_by_class_name_and_base() -> None:
    found: list[list[Any]] = [[], [], []]
    with (
        events.subscribe(found[0].append, events.RunFinished),
        events.subscribe(found[1].append, ["RunStarted", events.SessionClosed]),
        events.subscribe(found[2].append, "RunEvent"),
        session() as s,
    ):
        s.run(X)
    s.close()
    assert [kinds(f) for f in found[:2]] == [["RunFinished"], ["RunStarted", "SessionClosed"]]
    assert kinds(found[2]) == ["RunStarted", "RunFinished"]
    assert not listeners.watching_runs


@pytest.mark.parametrize("wrong", ["RunFinish", ["PlanMade", "RunFinish"]])
def test_a_typo_is_an_error_with_the_nearest_name(wrong: Any) -> None:
    with pytest.raises(ronn.OptionError, match="did you mean 'RunFinished'"):
        events.subscribe(print, wrong)
    with pytest.raises(ronn.OptionError, match="no listener"):
        events.subscribe(None, "RunFinished")  # type: ignore[arg-type]
    with pytest.raises(ronn.OptionError, match="is no kind of event"):
        events.subscribe(print, int)  # type: ignore[arg-type]


def test_a_listener_that_raises_harms_nothing_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    found: list[Any] = []

    def broken(event: Any) -> None:
        raise ZeroDivisionError("my mistake")

    with (
        caplog.at_level(logging.ERROR, "ronn"),
        events.subscribe(broken) as subscription,
        events.subscribe(found.append),
        session() as s,
    ):
        assert s.run(X)["y"].tolist() == [0, -2]
    (record,) = caplog.records
    assert record.name == "ronn.events" and "broken" in record.getMessage() and "my mistake" in str(record.exc_text)
    assert subscription.failures == len(found) >= 6


def test_what_a_listener_causes_is_not_told() -> None:
    s = session()
    found: list[Any] = []

    def again(event: Any) -> None:
        found.append(event)
        s.run(X)

    with events.subscribe(again, "RunFinished"):
        s.run(X)
    assert kinds(found) == ["RunFinished"]


def test_nothing_is_told_after_close() -> None:
    found: list[Any] = []
    subscription = events.subscribe(found.append)
    subscription.close()
    subscription.close()
    session().run(X)
    assert found == []


def test_listeners_may_come_and_go_while_runs_go_on() -> None:
    s = session()
    s.run(X)
    until = time.monotonic() + 0.5
    wrong: list[Any] = []

    def work() -> None:
        while time.monotonic() < until:
            if s.run(X)["y"].tolist() != [0, -2]:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    while time.monotonic() < until:
        with events.subscribe(lambda e: None, "RunEvent"):
            time.sleep(0.001)
    for t in threads:
        t.join()
    assert wrong == [] and not listeners.watching_runs


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_listeners_work_in_a_child_after_fork() -> None:
    found: list[Any] = []
    s = session()
    with events.subscribe(found.append, "RunFinished"), listeners._lock:
        child = os.fork()
        if child == 0:
            try:
                s.run(X)
                events.subscribe(found.append, "PlanMade").close()
                os._exit(0 if kinds(found) == ["RunFinished"] else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_plugins_are_told_what_happened_before_they_were_known(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    ends: list[Any] = []
    monkeypatch.setattr(listeners, "_early", [])
    monkeypatch.setattr(listeners, "_plugged", [])
    ronn.load(model())

    def broken() -> Any:
        raise OSError("broken plugin")

    hooks = [("broken", broken), ("good", lambda: [found.append, (ends.append, ["SessionClosed"])])]
    try:
        listeners.plug(hooks)
        session().close()
    finally:
        listeners.unplug()
    assert kinds(found)[:2] == ["ModelLoaded", "ModelLoaded"] and kinds(ends) == ["SessionClosed"]
    session().close()
    assert len(ends) == 1
