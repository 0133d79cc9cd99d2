"""The session: routes, certificates, memory, audits, and that it runs like any other."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pair
import pytest

import ronn
import ronn_hrm as hrm
from ronn.errors import InputError, OptionError, RonnError
from ronn.records import replace
from ronn_hrm.errors import CalibrationError, RoutingError, StateError
from ronn_hrm.state import Correction, Student

ALPHA = 0.05


@pytest.fixture(autouse=True)
def _known_coin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same coin in each run of the tests."""
    monkeypatch.setattr(hrm.EpisodicStore, "key", property(lambda store: bytes(range(32))))


def opened(model: bytes) -> ronn.Session:
    return ronn.Session(model, providers="cpu", options={"threads": 1})


def made(**options: Any) -> hrm.HRMSession:
    given = {"embed": hrm.FromInput("x"), "guarantee": hrm.Guarantee(alpha=ALPHA), **options}
    return hrm.HRMSession(opened(pair.fast_model()), opened(pair.full_model()), **given)


def stream(count: int, seed: int = 0, turn: bool = False) -> Iterator[np.ndarray]:
    """Requests [1, 64]: unseen digits with noise, none like another."""
    rng = np.random.default_rng(seed)
    images, _ = pair.traffic()
    images = pair.rotated(images) if turn else images
    for row in images[rng.integers(len(images), size=count)]:
        yield (row + rng.normal(size=64) * 0.05).astype(np.float32)[None]


def warm(session: hrm.HRMSession, count: int = 1500, seed: int = 0) -> None:
    for x in stream(count, seed):
        session.run(x)
    assert session.drain(60)
    for more in range(8):  # an alarm may come without a reason now and then: a certificate follows
        if session.mode == "certified":
            return
        for x in stream(250, seed=1000 + more):
            session.run(x)
        assert session.drain(60)
    raise AssertionError(session.metrics.as_data())


def test_nothing_is_answered_cheaply_before_there_is_a_certificate() -> None:
    with made() as session:
        paths = [session.run(x, explain=True)[1].path for x in stream(40)]
        assert set(paths) == {"full:cold-start"}
        assert session.certificate() is None
        assert session.mode == "cold"


def test_a_certificate_comes_from_traffic_and_is_kept() -> None:
    full = opened(pair.full_model())
    with made() as session:
        warm(session)
        found = session.certificate()
        assert found is not None and found.bound <= ALPHA and found.n >= hrm.least_records(hrm.Guarantee(alpha=ALPHA))
        paths: Counter[str] = Counter()
        wrong = 0.0
        for x in stream(1500, seed=1):
            outputs, why = session.run({"x": x}, explain=True)
            paths[why.answered_by] += 1
            wrong += float(outputs[0].argmax() != full.run(x)[0].argmax())
            if why.score is not None:
                assert why.score == pytest.approx(sum(p for _, p in why.reasons) + session.state.scorer.bias, abs=1e-3)
        assert paths["fast"] > 200
        assert wrong / 1500 <= ALPHA
        metrics = session.metrics.as_data()
        assert sum(metrics["requests"].values()) >= 3000


def test_answers_of_the_full_path_are_those_of_the_expensive_model_and_repeats_come_from_the_cache() -> None:
    full = opened(pair.full_model())
    x = next(stream(1))
    with made() as session:
        first, why = session.run(x, explain=True)
        again, then = session.run([x], explain=True)
        assert (why.answered_by, then.path) == ("full", "cache")
        assert first["scores"].tobytes() == again["scores"].tobytes() == full.run(x)["scores"].tobytes()
        again["scores"][:] = 0  # the caller's own
        assert session.run(x)["scores"].tobytes() == first["scores"].tobytes()


def test_namespaces_do_not_share_answers() -> None:
    x = next(stream(1))
    with made(namespace=lambda context: context["tenant"]) as session:
        paths = [session.run(x, explain=True, context={"tenant": t})[1].path for t in "aba"]
        assert paths == ["full:cold-start", "full:cold-start", "cache"]
        assert session.forget(namespace="a") == 1
        assert session.run(x, explain=True, context={"tenant": "a"})[1].path == "full:cold-start"
        assert session.run(x, explain=True, context={"tenant": "b"})[1].path == "cache"


def test_audits_of_a_selective_guarantee_are_those_of_the_cheap_model() -> None:
    """It speaks of no other answers."""
    guarantee = hrm.Guarantee(alpha=0.3, kind="selective")
    with made(guarantee=guarantee, audit=hrm.Audit(rate=0.5, mode="inline", max_rate=1.0)) as session:
        warm(session, 600)
        scores = [s for x in stream(100, seed=4) if (s := session.run(x, explain=True)[1].score) is not None]
        service, guard = session._supervisor._service, session._supervisor.guard
        state = replace(session.state, lam=float(np.median(scores)), id="")
        assert service.take(state, guard.epoch)
        before, audits, asked = guard.audit.count, 0, 0
        for x in stream(100, seed=5):
            why = session.run(x, explain=True)[1]
            audited = why.role in ("calibrate", "gate")
            audits += audited
            asked += audited and why.score is not None and why.score >= why.lam
        assert session.drain(60)
        assert guard.audit.count - before == asked
        assert 10 < asked < audits - 10


def test_an_alarm_voids_the_certificate_and_traffic_brings_a_new_one() -> None:
    with made(audit=hrm.Audit(rate=0.1)) as session:
        warm(session)
        before = session.certificate()
        paths = [session.run(x, explain=True)[1].path for x in stream(1500, seed=2, turn=True)]
        session.drain(60)
        assert "full:guard" in paths
        alarms = session.metrics.as_data()["alarms"]
        assert sum(alarms.values()) >= 1
        found = session.certificate()
        assert found is None or (before is not None and found.epoch > before.epoch)


def test_drift_is_noticed_without_an_embedding_too() -> None:
    with made(embed=None, audit=hrm.Audit(rate=0.0)) as session:
        session.calibrate(list(stream(400, seed=7)))
        assert session.mode == "certified"
        faded = [0.4 * x for x in stream(400, seed=2)]  # neither cheap model nor scorer is sure of them
        paths = [session.run(x, explain=True)[1].path for x in faded]
        assert 5 < paths.index("full:guard") < 300, "doubt alone raised the alarm"


def test_with_tell_an_alarm_is_only_told() -> None:
    with made(on_drift="tell") as session:
        warm(session)
        session._supervisor._since = -(10**9)  # no certificate meanwhile
        for x in stream(600, seed=2, turn=True):
            session.run(x)
        session.drain(60)
        paths = {session.run(x, explain=True)[1].answered_by for x in stream(100, seed=3)}
        assert session.mode == "certified" and "fast" in paths
        assert sum(session.metrics.as_data()["alarms"].values()) >= 1


def test_gates_and_outputs_go_to_the_expensive_model() -> None:
    gate = hrm.Gate("bright", lambda feeds: float(feeds["x"].mean()) > 10)
    with made(gates=[gate], policy=hrm.AlwaysFast()) as session:
        assert session.run(np.full((1, 64), 20, np.float32), explain=True)[1].path == "full:gate(bright)"
        assert session.run(next(stream(1)), explain=True)[1].path == "fast"
        with pytest.raises(InputError, match="no output 'nothing'"):
            session.run(next(stream(1, seed=5)), outputs=["nothing"])


def test_a_client_has_a_cap_on_the_expensive_model() -> None:
    with made(escalations=hrm.Escalations(3, seconds=1e6), client=lambda context: context) as session:
        for x in stream(3):
            session.run(x, context="eve")
        with pytest.raises(hrm.EscalationLimitError, match="'eve' has had 3"):
            session.run(next(stream(1, seed=9)), context="eve")
        session.run(next(stream(1, seed=9)), context="bob")


@pytest.mark.parametrize("policy", [hrm.AlwaysFull(), hrm.AlwaysFast(), hrm.StaticThreshold(0.9)])
def test_policies_without_a_certificate(policy: Any) -> None:
    fast, full = opened(pair.fast_model()), opened(pair.full_model())
    with made(policy=policy) as session:
        for x in stream(60):
            outputs, why = session.run(x, explain=True)
            expected = fast if why.answered_by == "fast" else full
            assert outputs[0].tobytes() == expected.run(x)[0].tobytes()
            confident = np.exp(fast.run(x)[0][0]).max() / np.exp(fast.run(x)[0][0]).sum() >= 0.9
            wanted = {"always-full": False, "always-fast": True, "static-threshold": confident}[policy.kind]
            assert (why.answered_by == "fast") == wanted


def test_a_budget_goes_below_the_certified_threshold_and_says_what_risk_that_has() -> None:
    with made(policy=hrm.Budgeted(0.02)) as session:
        warm(session)
        found = session.certificate()
        assert found is not None and found.share >= 0.95 and found.bound > ALPHA


def test_inline_audits_serve_the_expensive_model() -> None:
    with made(audit=hrm.Audit(rate=0.1, mode="inline")) as session:
        warm(session)
        paths = Counter(session.run(x, explain=True)[1].path for x in stream(400, seed=4))
        assert paths["full:audit"] > 10


def test_it_runs_like_any_session(tmp_path: Path) -> None:
    (tmp_path / "fast.onnx").write_bytes(pair.fast_model())
    (tmp_path / "full.onnx").write_bytes(pair.full_model())
    x = next(stream(1))
    with hrm.HRMSession(str(tmp_path / "fast.onnx"), lambda: ronn.Session(tmp_path / "full.onnx")) as session:
        assert [v.name for v in session.inputs] == ["x"] and [v.name for v in session.outputs] == ["scores"]
        (scores,) = session.run(x)
        assert scores.tobytes() == asyncio.run(session.run_async({"x": x}))["scores"].tobytes()
        assert len(session.run_batch([x, x])) == 2
        wrong = session.run_batch([x, np.zeros((1, 3), np.float32)], return_exceptions=True)
        assert isinstance(wrong[1], RonnError)
        with pytest.raises(InputError):
            session.run({"y": x})
    with pytest.raises(RonnError, match="closed"):
        session.run(x)
    session.close()


def test_models_that_cannot_stand_in_for_each_other_are_refused() -> None:
    with pytest.raises(RoutingError, match="no output 'logits'"):
        made(task=hrm.Classification("logits"))
    with pytest.raises(RoutingError, match="no value 'hiden'"):
        hrm.HRMSession(opened(pair.full_model()), opened(pair.full_model()), embed=hrm.FromOutput("hiden"))
    with pytest.raises(OptionError, match="on_drift"):
        made(on_drift="panic")


def test_a_value_inside_the_cheap_model_is_an_embedding() -> None:
    model = pair.full_model(32)
    with hrm.HRMSession(opened(model), opened(pair.full_model()), embed=hrm.FromOutput("hidden")) as session:
        outputs, _ = session.run(next(stream(1)), explain=True)
        assert list(outputs.keys()) == ["scores"]
        session.drain()
        embedding = session._parts.store.episodes().embedding
        assert embedding is not None and embedding.shape == (1, 32)


def test_calibration_takes_no_input_that_was_learnt_from() -> None:
    with made() as session:
        requests = list(stream(300))
        for x in requests:
            session.run(x)
        session.drain()
        with pytest.raises(CalibrationError, match=r"had no part|made from"):
            session.calibrate(requests)
        found = session.calibrate(list(stream(400, seed=8)))
        assert found is not None and found.n >= 400


def test_it_goes_on_after_a_restart_and_not_with_another_model(tmp_path: Path) -> None:
    memory = hrm.Memory(path=tmp_path / "memory")
    x = next(stream(1, seed=33))
    with made(memory=memory) as session:
        warm(session)
        for seed in range(3, 9):  # a new certificate may be due meanwhile
            state, number = session.state.id, session.run(x, explain=True)[1].id
            answered = [session.run(y, explain=True)[1] for y in stream(50, seed)]
            if session.drain(60) and session.state.id == state and session.mode == "certified":
                break
    with made(memory=memory) as session:
        assert session.mode == "certified" and session.state.id == state
        again = [session.run(y, explain=True)[1] for y in stream(50, seed)]
        assert again[0].state == state
        for before, after in zip(answered, again, strict=True):
            assert after.id > number
            if after.state != state:
                break
            assert after.path == "cache" or (after.path, after.score, after.lam) == (
                before.path, before.score, before.lam
            )  # fmt: skip
    other = {"embed": hrm.FromInput("x"), "guarantee": hrm.Guarantee(alpha=ALPHA), "memory": memory}
    with hrm.HRMSession(opened(pair.fast_model()), opened(pair.full_model(48)), **other) as session:  # type: ignore[arg-type]
        assert session.certificate() is None and session.mode == "cold"
        assert session.run(x, explain=True)[1].path == "full:cold-start"


def test_forgetting_one_input() -> None:
    with made() as session:
        warm(session)
        x = next(stream(1500))
        assert session.forget(x) == 1
        requests = session._parts.store.requests_of(digest=b"\0" * 16)
        assert len(requests) == 0 and session.mode == "certified"


def test_an_adapter_that_was_taught_by_what_is_forgotten_is_made_anew() -> None:
    with made() as session:
        warm(session)
        service = session._learner._service
        taught = replace(
            session.state, correction=Correction(np.ones((10, 64), np.float32), np.zeros(10, np.float32)), id=""
        )
        assert service.take(taught, service.guard.epoch)
        assert session.forget(before=time.time()) > 0
        report = session.sleep(strategy="adapter")
        assert report.promoted and report.kind == "original", report
        assert session.state.correction is None
        assert not session.sleep(strategy="adapter").promoted


def test_advice_is_measured() -> None:
    with made() as session:
        warm(session)
        advice = session.advise(list(stream(5)))
        assert not advice.pays and advice.certified and advice.costs.full > 0
        with pytest.raises(OptionError, match="nothing to take times on"):
            session.advise()


def test_the_history_has_windows_and_what_happened(tmp_path: Path) -> None:
    from ronn_hrm.history import read_history

    with made(memory=hrm.Memory(path=tmp_path)) as session:
        warm(session)
        found = session.metrics.as_data()
        assert found["alpha"] == ALPHA and found["cache_entries"] > 0 and found["episodes"] > 0
    windows, events = read_history(tmp_path)
    assert sum(w.requests for w in windows) == sum(session.metrics.requests().values()) >= 1500 and len(windows) >= 10
    assert "certificate" in {e.kind for e in events}


def test_eight_threads_decide_as_one_does(tmp_path: Path) -> None:
    with made(memory=hrm.Memory(path=tmp_path / "memory")) as session:
        warm(session)
    requests = list(stream(900, seed=6))
    found = []
    for count in (1, 8):
        folder = tmp_path / f"of {count}"
        shutil.copytree(tmp_path / "memory", folder)
        with made(memory=hrm.Memory(path=folder), audit=hrm.Audit(mode="inline")) as session:
            session._supervisor._since = -(10**9)
            with ThreadPoolExecutor(count) as pool:
                answers = list(pool.map(lambda x: session.run(x, explain=True), requests))
            found.append([(w.path, w.score, w.reasons, w.lam, w.role, w.state, o[0].tobytes()) for o, w in answers])
    assert found[0] == found[1]
    assert {"full", "fast"} <= {path for path, *_ in found[0]}


def test_equal_requests_at_once_ask_the_expensive_model_once() -> None:
    with made(policy=hrm.AlwaysFull()) as session, ThreadPoolExecutor(8) as pool:
        requests = [x for x in stream(40) for _ in range(8)]
        answers = list(pool.map(session.run, requests))
        session.drain(60)
        assert session.metrics.count("full_runs") == 40
        for i in range(0, len(answers), 8):
            assert len({a[0].tobytes() for a in answers[i : i + 8]}) == 1


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_snapshot_brings_back_what_was_known(tmp_path: Path, on_disk: bool) -> None:
    memory = hrm.Memory(path=tmp_path / "memory" if on_disk else None)
    with made(memory=memory) as session:
        warm(session)
        before, x = session.state.id, next(stream(1500))
        session.snapshot(tmp_path / "copy")
        with pytest.raises(StateError, match="there already"):
            session.snapshot(tmp_path / "copy")
        session.forget(before=1e12)
        session.restore(tmp_path / "copy")
        assert session.state.id == before and session.mode == "certified"
        assert session.metrics.count("certificates") > 0
        session.run(x)
        with pytest.raises(StateError, match="holds no"):
            session.restore(tmp_path / "nothing")
        session.run(x)
    other = hrm.HRMSession(opened(pair.fast_model()), opened(pair.full_model(48)), embed=hrm.FromInput("x"))
    with other, pytest.raises(StateError, match="full differ"):
        other.restore(tmp_path / "copy")


def test_consolidation_improves_and_is_told(tmp_path: Path) -> None:
    with made(memory=hrm.Memory(path=tmp_path)) as session:
        warm(session, 2500)
        before = session.certificate()
        assert before is not None
        report = session.consolidate()
        after = session.certificate()
        assert report.promoted and after is not None and after.share >= before.share
        assert session.state.id == report.after.state
        assert session.metrics.count("promotions") == 1
        assert "sleep" in {e.kind for e in session._parts.history.events}
        assert session.sleep(strategy="memory").kind in ("memory", "")
        share = np.mean([session.run(x, explain=True)[1].path == "fast" for x in stream(300, seed=12)])
        assert share > 0.6
    with made(memory=hrm.Memory(path=tmp_path)) as session:
        assert session.state.correction is not None or session.state.student is not None
        assert session.mode == "certified"


def test_it_sleeps_in_idle_time() -> None:
    settings = hrm.Sleep(auto=True, idle_s=0.05, min_new=50, strategy="memory")
    with made(sleep=settings) as session:
        warm(session)
        for _ in range(200):
            if session.metrics.count("sleeps"):
                break
            threading.Event().wait(0.05)
        assert session.metrics.count("sleeps") >= 1


class Wide:
    """A model with one output more than it has."""

    def __init__(self, session: ronn.Session) -> None:
        self.session = session
        self.inputs = session.inputs
        self.outputs = [*session.outputs, SimpleNamespace(name="more")]

    def fingerprint(self) -> str:
        return "wide"

    def run(self, inputs: Any = None, **options: Any) -> dict[str, Any]:
        return {"scores": self.session.run(inputs)["scores"], "more": np.zeros(1, np.float32)}


@pytest.mark.parametrize("lazy", [False, True])
def test_the_first_answer_after_a_restart_may_be_the_cheap_models(tmp_path: Path, lazy: bool) -> None:

    def session() -> hrm.HRMSession:
        return hrm.HRMSession(
            Wide(opened(pair.fast_model())),
            (lambda: opened(pair.full_model())) if lazy else opened(pair.full_model()), embed=hrm.FromInput("x"),
            guarantee=hrm.Guarantee(alpha=ALPHA), memory=hrm.Memory(path=tmp_path),
        )  # fmt: skip

    with session() as first:
        warm(first)
    with session() as again:
        answers = [again.run(x, explain=True) for x in stream(60, seed=3)]
        assert {why.answered_by for _, why in answers} == {"fast", "full"}
        assert all(tuple(outputs.keys()) == ("scores",) for outputs, _ in answers)


def test_outputs_that_a_student_lacks_come_from_the_expensive_model() -> None:
    with hrm.HRMSession(
        Wide(opened(pair.fast_model())), Wide(opened(pair.full_model())), embed=hrm.FromInput("x"),
        guarantee=hrm.Guarantee(alpha=ALPHA), memory=hrm.Memory(store_inputs=True),
    ) as session:  # fmt: skip
        warm(session)
        state = replace(session.state, student=Student(pair.fast_model(), "x"), id="")
        assert session._learner._service.take(state, 0)
        outputs, why = session.run(next(stream(1, seed=9)), explain=True)
        assert (tuple(outputs.keys()), why.path) == (("scores", "more"), "full:outputs")
        paths = {session.run(x, outputs=["scores"], explain=True)[1].answered_by for x in stream(40, seed=4)}
        assert "fast" in paths


def test_steady_traffic_puts_sleep_off_until_it_is_overdue() -> None:
    for overdue, slept in ((None, False), (60, True)):
        settings = hrm.Sleep(auto=True, idle_s=3600.0, min_new=50, overdue=overdue, strategy="memory")
        with made(sleep=settings) as session:
            warm(session)
            for x in stream(4000, seed=21):
                session.run(x)
                if session.metrics.count("sleeps"):
                    break
            assert bool(session.metrics.count("sleeps")) == slept


def test_the_first_certificate_waits_for_as_many_records_as_wanted() -> None:
    with made(audit=hrm.Audit(least=300)) as session:
        for at, x in enumerate(stream(2000)):
            session.run(x)
            if at % 25 == 0:
                session.drain(60)
            if session.certificate() is not None:
                break
        found = session.certificate()
        assert found is not None and found.n >= 300 and at > 300 / 0.32 * 0.7


def test_a_student_does_not_take_outputs_away() -> None:
    import onnx

    models = [onnx.load_from_string(m) for m in (pair.full_model(48), pair.full_model())]
    for model in models:
        model.graph.output.append(onnx.helper.make_tensor_value_info("hidden", 1, None))
    fast, full = (opened(m.SerializeToString()) for m in models)
    task, guarantee = hrm.Classification("scores"), hrm.Guarantee(alpha=ALPHA)
    memory = hrm.Memory(store_inputs=True)
    audit = hrm.Audit(least=300)
    with hrm.HRMSession(fast, full, task=task, guarantee=guarantee, memory=memory, audit=audit) as session:
        warm(session)
        report = session.consolidate(strategy="student")
        assert not report.promoted and "a student gives scores alone" in report.why
        assert [v.name for v in session.outputs] == ["scores", "hidden"]


def test_states_whose_decisions_left_the_log_go(tmp_path: Path) -> None:
    with made(memory=hrm.Memory(path=tmp_path)) as session:
        warm(session)
        archive = session._learner.archive
        for _ in range(3):
            session.calibrate()
        known = session._parts.store.states()
        assert known <= set(archive.ids()), "every decision of the log can be decided again"
        session._parts.store.forget(before=1e12)
        for seed in range(8):
            session.calibrate(list(stream(60, seed=50 + seed)))
        assert len(archive.ids()) <= 8 and session.state.id in archive.ids()
