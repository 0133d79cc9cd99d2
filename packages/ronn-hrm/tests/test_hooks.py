"""Plugins: each hook replaces its part of a session; one that fails takes no other down."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pair
import pytest

import ronn
import ronn_hrm as hrm
from ronn_hrm import hooks, hookspecs
from ronn_hrm.drift.audit import AuditDetector
from ronn_hrm.drift.guard import Guard
from ronn_hrm.hooks import Hooks
from ronn_hrm.memory.episodic import EpisodicStore
from ronn_hrm.scorers import MarginScorer
from ronn_hrm.sleep import Outcome, Report


class Brightness:
    """A group of features."""

    names = ("brightness",)
    uses_inputs = True

    def of(self, seen: Any) -> tuple[float, ...]:
        return (float(next(iter(seen.inputs.values())).mean()),)

    def as_data(self) -> dict[str, Any]:
        return {"kind": "brightness"}


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooks]:
    """Hooks of this test alone."""
    alone = Hooks([])
    monkeypatch.setattr("ronn_hrm.assembly.hooks", lambda: alone)
    yield alone


def session(**options: Any) -> hrm.HRMSession:
    fast, full = (
        ronn.Session(m, providers="cpu", options={"threads": 1}) for m in (pair.fast_model(), pair.full_model())
    )
    return hrm.HRMSession(fast, full, embed=hrm.FromInput("x"), guarantee=hrm.Guarantee(alpha=0.1), **options)


def run(session: hrm.HRMSession, count: int) -> list[hrm.Decision]:
    random = np.random.default_rng(0)
    images, _ = pair.traffic()
    found = []
    for row in images[random.integers(len(images), size=count)]:
        x = (row + random.normal(size=64) * 0.05).astype(np.float32)[None]
        found.append(session.run(x, explain=True)[1])
    assert session.drain(60)
    return found


def test_hrm_features(plugged: Hooks) -> None:
    class Plugin:
        @hrm.hookimpl
        def hrm_features(self, task: Any) -> list[Any]:
            assert task.kind == "classification"
            return [Brightness()]

    plugged.register(Plugin())
    with session() as made:
        features = dict(run(made, 3)[-1].features)
    assert 0 < features["brightness"] < 1 and "contrast" in features
    with session(groups=[Brightness()]) as made:
        assert made.state.names == ("brightness",)


def test_hrm_scorer(plugged: Hooks) -> None:
    asked = []

    class Plugin:
        @hrm.hookimpl
        def hrm_scorer(self, names: Any, task: Any) -> Any:
            def fit(features: np.ndarray, names: Any, losses: np.ndarray, *, alpha: float) -> MarginScorer:
                asked.append((features.shape, alpha))
                return MarginScorer.fit(features, names, losses)

            return fit

    plugged.register(Plugin())
    with session() as made:
        run(made, 400)
        assert made.mode == "certified" and made.state.scorer.kind == "margin"
    assert asked and all(shape[1] == 6 and alpha == 0.1 for shape, alpha in asked)


def test_hrm_store(plugged: Hooks) -> None:
    stores = []

    class Plugin:
        @hrm.hookimpl
        def hrm_store(self, memory: hrm.Memory) -> EpisodicStore:
            stores.append(EpisodicStore(memory.path, memory))
            return stores[0]

    plugged.register(Plugin())
    with session() as made:
        run(made, 5)
        assert len(stores[0].episodes()) == 5


def test_hrm_consolidator(plugged: Hooks) -> None:
    class Plugin:
        @hrm.hookimpl
        def hrm_consolidator(self, sleep: hrm.Sleep) -> Any:
            def consolidate(state: Any, episodes: Any, **named: Any) -> Outcome:
                assert named["sleep"] is sleep and len(episodes) == 5
                return Outcome(state, None, Report(False, "not tired"))

            return consolidate

    plugged.register(Plugin())
    with session() as made:
        run(made, 5)
        assert made.sleep().why == "not tired"


class Nervous(AuditDetector):
    """A detector that any wrong answer alarms."""

    restored: Any = None

    def update(self, loss: float) -> bool:
        self.count += 1
        return loss > 0.0

    def restore(self, data: dict[str, Any]) -> None:
        self.restored = data


def test_hrm_drift_detector(plugged: Hooks) -> None:
    class Plugin:
        @hrm.hookimpl
        def hrm_drift_detector(self, alpha: float, run_length: float) -> Nervous:
            assert alpha == 0.1
            return Nervous(alpha, run_length)

    plugged.register(Plugin())
    with session(audit=hrm.Audit(rate=0.1, run_length=99.0)) as made:
        guard = made._supervisor.guard
    assert isinstance(guard.audit, Nervous) and guard.audit.run_length == 99.0
    assert guard.certify(0)
    assert guard.audited(0.0, 0.0) is None
    alarm = guard.audited(1.0, 0.0)
    assert alarm is not None and alarm.kind == "audit" and guard.phase == "guard"
    again = Guard.from_data(guard.as_data(), 0.1, 99.0, Nervous(0.1, 99.0))
    assert isinstance(again.audit, Nervous) and again.audit.restored["alpha"] == 0.1 and again.epoch == 1


def test_a_plugin_that_cannot_be_loaded_is_told_of_and_left_out() -> None:
    class Point:
        def __init__(self, name: str, plugin: Any) -> None:
            self.name, self._plugin = name, plugin

        def load(self) -> Any:
            if isinstance(self._plugin, Exception):
                raise self._plugin
            return self._plugin

    class Wrong:
        @hrm.hookimpl
        def hrm_features(self, tusk: Any) -> list[Any]:
            return []

    class Unknown:
        @hrm.hookimpl
        def hrm_dreams(self) -> None: ...

    class Good:
        @hrm.hookimpl
        def hrm_features(self, task: Any) -> list[Any]:
            return [Brightness()]

    found = Hooks(
        [Point("a", ImportError("no such module")), Point("b", Wrong()), Point("c", Good()), Point("d", object()),
         Point("e", Unknown())]
    )  # fmt: skip
    assert found.failures["a"] == "ImportError: no such module"
    assert "tusk" in found.failures["b"] and "no function marked" in found.failures["d"]
    assert "hrm_dreams" in found.failures["e"] and set(found.failures) == {"a", "b", "d", "e"}
    assert [g.names for g in found.features(hrm.Classification())] == [("brightness",)]


def test_without_plugins_nothing_is_replaced() -> None:
    alone = Hooks([])
    assert alone.features(hrm.Classification()) == []
    assert alone.scorer((), hrm.Classification()) is None and alone.store(hrm.Memory()) is None
    assert alone.consolidator(hrm.Sleep()) is None and alone.drift_detector(0.1, 10.0) is None
    assert hooks.hooks() is hooks.hooks()


def test_every_hook_has_a_test_and_a_text() -> None:
    found = hookspecs.specs()
    assert len(found) == 5
    for name, spec in found.items():
        assert f"test_{name}" in globals() and len(inspect.getdoc(spec) or "") > 50
