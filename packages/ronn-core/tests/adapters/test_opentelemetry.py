"""The OpenTelemetry adapter against the real SDK: spans nest below the caller's, metrics say what happened."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import ronn
from ronn import listeners
from ronn.adapters import opentelemetry

X = np.array([-1, 2], np.float32)


def model(path: Any = None) -> Any:
    io = [h.make_tensor_value_info(n, T.FLOAT, ["N"]) for n in "xy"]
    weight = h.make_tensor("w", T.FLOAT, [1], [3.0])
    g = h.make_graph([h.make_node("Mul", ["x", "w"], ["y"], name="scale")], "g", io[:1], io[1:], [weight])
    data = h.make_model(g, opset_imports=[h.make_opsetid("", 18)], ir_version=9).SerializeToString()
    if path is None:
        return data
    path.write_bytes(data)
    return path


class Collected:
    def __init__(self) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("test")

    def spans(self, title: str | None = None) -> list[Any]:
        return [s for s in self.exporter.get_finished_spans() if title in (None, s.name)]

    def metrics(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        scopes = [s for r in data.resource_metrics for s in r.scope_metrics] if data is not None else []
        return {m.name: list(m.data.data_points) for s in scopes for m in s.metrics}

    def value(self, name: str, **attributes: Any) -> Any:
        wanted = {k.replace("_", ".", 1): v for k, v in attributes.items()}
        (point,) = (p for p in self.metrics()[name] if wanted.items() <= dict(p.attributes).items())
        return point


@pytest.fixture
def told() -> Iterator[Collected]:
    made = Collected()
    with opentelemetry.install(tracer_provider=made.tracers, meter_provider=made.meters):
        yield made
    assert not listeners.watching_runs
    made.meters.shutdown()


def test_spans_of_a_session_nest_below_the_callers(told: Collected, tmp_path: Any) -> None:
    with told.tracer.start_as_current_span("request") as request:
        session = ronn.Session(model(tmp_path / "m.onnx"), providers=["reference"])
        session.run(X)
        session.run(X)
    (load,) = told.spans("ronn.load")
    (made,) = told.spans("ronn.session")
    (plan,) = told.spans("ronn.plan")
    first, second = told.spans("ronn.run")
    assert dict(load.attributes) == {"ronn.model": "m.onnx", "ronn.nodes": 1}
    assert list(made.attributes["ronn.providers"]) == ["reference"]
    parent = request.get_span_context().span_id
    assert [s.parent.span_id for s in (load, made, first, second)] == [parent] * 4
    assert plan.parent.span_id == first.context.span_id, "the run waited for the plan"
    assert plan.attributes["ronn.signature"] == first.attributes["ronn.signature"] == "f32[2]"
    assert first.attributes["ronn.model"] == "m.onnx" and first.attributes["ronn.session"] == session.number
    assert first.attributes["ronn.run"] != second.attributes["ronn.run"]
    assert len({s.context.trace_id for s in told.spans()}) == 1
    for span in told.spans():
        assert span.start_time <= span.end_time <= time.time_ns() + 10_000_000
    assert first.start_time <= plan.start_time + 5_000_000 and plan.end_time <= first.end_time + 5_000_000
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_runs_in_threads_nest_below_the_context_that_they_are_given(told: Collected) -> None:
    session = ronn.Session(model(), providers=["reference"])
    session.run(X)
    told.exporter.clear()

    def work(context: contextvars.Context) -> None:
        context.run(session.run, X)

    with told.tracer.start_as_current_span("request") as request:
        threads = [threading.Thread(target=work, args=(contextvars.copy_context(),)) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert {s.parent.span_id for s in told.spans("ronn.run")} == {request.get_span_context().span_id}


def test_runs_of_asyncio_tasks_nest_below_their_own_requests(told: Collected) -> None:
    session = ronn.Session(model(), providers=["reference"])

    async def request(number: int) -> tuple[int, int]:
        with told.tracer.start_as_current_span("request", attributes={"n": number}) as span:
            await session.run_async(np.zeros(number, np.float32))
            return number, span.get_span_context().span_id

    async def main() -> list[tuple[int, int]]:
        return await asyncio.gather(*(request(n) for n in (1, 2, 3)))

    parents = dict(asyncio.run(main()))
    found = {s.attributes["ronn.signature"]: s.parent.span_id for s in told.spans("ronn.run")}
    assert found == {f"f32[{n}]": parent for n, parent in parents.items()}


def test_failures_and_stops(told: Collected) -> None:
    session = ronn.Session(model(), providers=["reference"])
    with pytest.raises(ronn.InputError):
        session.run(np.zeros((2, 2), np.float32))
    with pytest.raises(TimeoutError):
        session.run(X, timeout=0)
    failed, late = told.spans("ronn.run")
    assert failed.status.status_code is late.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "InputError" and late.attributes["error.type"] == "timeout"
    (event,) = failed.events
    assert event.name == "exception" and "rank 2" in event.attributes["exception.message"]
    assert told.value("ronn.run.duration", error_type="InputError").count == 1
    assert told.value("ronn.run.duration", error_type="timeout").count == 1
    assert told.value("ronn.run.active").value == 0


def test_metrics(told: Collected) -> None:
    session = ronn.Session(model(), providers=["reference"], options={"memory_limit": "1MB"})
    for n in (1, 2, 2):
        session.run(np.zeros(n, np.float32))
    duration = told.value("ronn.run.duration", ronn_model="<bytes>")
    assert duration.count == 3 and 0 < duration.sum < 60
    assert max(duration.explicit_bounds) == 10 and min(duration.explicit_bounds) < 0.001
    assert told.value("ronn.plan.duration").count == 2
    found = {p.attributes["ronn.memory.purpose"]: p.value for p in told.metrics()["ronn.memory.usage"]}
    assert found["weights"] >= session.memory().weights > 0 and set(found) == {"weights", "packed", "arenas", "mapped"}
    assert told.value("ronn.memory.limit", ronn_model="<bytes>").value >= 10**6
    before = told.value("ronn.session.count", ronn_model="<bytes>").value
    session.close()
    after = {p.attributes["ronn.model"]: p.value for p in told.metrics().get("ronn.session.count", [])}
    assert after.get("<bytes>", 0) == before - 1


def test_installing_twice_is_installing_once_and_close_ends_it(told: Collected) -> None:
    again = opentelemetry.install(tracer_provider=told.tracers, meter_provider=told.meters)
    session = ronn.Session(model(), providers=["reference"])
    session.run(X)
    assert len(told.spans("ronn.run")) == 1
    again.close()
    session.run(X)
    assert len(told.spans("ronn.run")) == 1
    assert "ronn.memory.usage" not in told.metrics()


def test_an_adapter_that_comes_during_a_run_leaves_that_run_out(told: Collected) -> None:
    from ronn import events

    told_spans, _ = (s.listener for s in listeners._listeners["RunFinished"])
    told_spans(events.RunFinished(time.monotonic(), 1, "m", 10**9, 0.0, 0.1, ""))
    assert told.spans() == []


def test_without_the_package_the_error_names_the_extra() -> None:
    text = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import ronn\n"
        "try: import ronn.adapters.opentelemetry\n"
        "except ronn.ProviderError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "pip install 'ronn-core[opentelemetry]'" in done.stdout
