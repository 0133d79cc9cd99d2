"""Consolidation: what is better is promoted, what is not is refused, what is cancelled leaves everything as it was."""

from __future__ import annotations

import json
import threading
from typing import Any

import nights
import numpy as np
import pytest
from nights import episodes, first_state, settings

from ronn.errors import OptionError
from ronn.records import replace
from ronn_hrm.certify import records_of
from ronn_hrm.fast_path import FastPath
from ronn_hrm.memory.episode import Episodes
from ronn_hrm.scorers import MarginScorer
from ronn_hrm.sleep import Distil, Outcome, Sleep, candidates, consolidate, consolidation
from ronn_hrm.sleep.gate import Folds
from ronn_hrm.sleep.lessons import lessons_of
from ronn_hrm.state import Correction, State
from ronn_hrm.task import Classification, Regression


def slept(state: State | None = None, of: Episodes | None = None, **other: Any) -> Outcome:
    call = {k: other.pop(k) for k in ("strategy", "budget_s", "cancel", "scorer", "fit", "stale") if k in other}
    return consolidate(
        first_state() if state is None else state, episodes() if of is None else of, **settings(**other), **call
    )


def altered(of: Episodes, role: str, full: Any) -> Episodes:
    """Episodes with other answers of the expensive model for a role: ``full`` takes the former one."""
    return replace(of, full=[full(f) if r == role else f for f, r in zip(of.full, of.role, strict=True)])


@pytest.mark.parametrize("strategy", ["memory", "adapter", "student"])
def test_a_better_state_is_promoted_and_certified(strategy):
    found = slept(strategy=strategy)
    report, state = found.report, found.state
    assert report.promoted and report.kind == strategy and not report.cancelled
    assert state.certificate is not None and state.certified and state.lam == report.after.lam
    assert state.certificate.bound <= 0.05 and state.certificate.n == 300
    assert report.after.gate > report.before.gate and report.after.share > report.before.share
    assert report.after.risk <= 0.08
    assert (state.correction is not None) == (strategy == "adapter")
    assert (state.student is not None) == (strategy == "student")
    assert state.neighbours is not None and state.neighbours.size == 1200
    if strategy != "memory":
        assert report.after.agreement > report.before.agreement + 0.02
    assert report.after.old > report.before.old - 0.005
    # What the report says is what the state does.
    gate = Folds.of(episodes(), 1).gate
    records = records_of(FastPath(nights.cheap(), state), state, nights.ASSESSOR, gate)
    served = state.scorer.score_many(records.features) >= state.lam
    assert served.mean() == report.after.gate
    assert 1 - records.losses.mean() == pytest.approx(report.after.agreement)


def test_it_is_deterministic_and_a_second_night_finds_nothing_better():
    one, two = slept(), slept()
    assert one.report.promoted and one.state.id == two.state.id != first_state().id
    assert [t.kind for t in one.report.tried] == ["memory", "adapter", "student"]
    again = slept(state=one.state, strategy=one.report.kind)
    assert not again.report.promoted and again.state is one.state and again.records is None


def test_a_worse_candidate_is_refused(monkeypatch):
    def sabotaged(state, lessons, cheap, sleep, pace, epoch):
        noise = np.random.default_rng(0).normal(scale=5.0, size=(10, 24)).astype(np.float32)
        return replace(state, correction=Correction(noise, np.zeros(10, np.float32)), student=None, id="")

    good = slept(strategy="adapter").state
    monkeypatch.setattr(consolidation, "CHANGES", {"adapter": sabotaged})
    found = slept(state=good, strategy="adapter", sleep=replace(nights.SLEEP, forget=1.0))
    assert not found.report.promoted and found.state is good
    assert "not more than" in found.report.why and found.report.after.gate < found.report.before.gate


def test_what_forgets_is_refused_and_replay_keeps_it():
    student = Distil(hidden=(64,), source="x", epochs=24)
    forgetful = slept(strategy="student", sleep=Sleep(replay=False, student=student))
    assert not forgetful.report.promoted and "before the last alarm falls" in forgetful.report.why
    assert forgetful.report.after.old < forgetful.report.before.old - 0.1
    assert forgetful.report.records["replayed"] == 0
    kept = slept(strategy="student")
    assert kept.report.after.old > forgetful.report.after.old + 0.1
    assert kept.report.records["replayed"] == 600


def test_the_next_candidate_is_taken_where_the_first_forgets(monkeypatch):
    def forgets(state, lessons, cheap, sleep, pace, epoch):
        only = lessons.where(lessons.episodes.epoch == epoch)
        return candidates.taught(state, only, cheap, sleep, pace, epoch)

    monkeypatch.setattr(consolidation, "CHANGES", {"student": forgets})
    found = slept()
    shares = {t.kind: t.share for t in found.report.tried}
    assert shares["student"] > shares["memory"]
    assert found.report.promoted and found.report.kind == "memory"


def test_a_cancelled_night_leaves_the_old_state():
    cancel = threading.Event()
    cancel.set()
    state = first_state()
    found = slept(state=state, cancel=cancel)
    assert found.state is state and found.report.cancelled and not found.report.promoted
    assert found.report.tried == () and found.records is None


def test_it_can_be_cancelled_in_the_middle_of_teaching(monkeypatch):
    cancel, teach, steps = threading.Event(), candidates.teach, []

    def watched(*args, check, **named):
        def told():
            steps.append(1)
            if len(steps) == 3:
                cancel.set()
            check()

        return teach(*args, check=told, **named)

    monkeypatch.setattr(candidates, "teach", watched)
    state = first_state()
    found = slept(state=state, cancel=cancel)
    assert found.state is state and found.report.cancelled and len(steps) == 3
    assert [t.kind for t in found.report.tried] == ["memory", "adapter"]


def test_without_time_nothing_more_is_begun():
    found = slept(budget_s=1e-9)
    assert [t.why for t in found.report.tried] == ["", "no time was left", "no time was left"]
    assert found.report.kind == "memory"


def test_what_was_taught_from_what_is_forgotten_goes_whatever_it_is_worth():
    taught = slept(strategy="adapter").state
    assert taught.correction is not None
    # Too little is left to make anything better: the original comes out, certified by itself.
    left = slept(state=taught, of=episodes().of_role("fit", "calibrate", "gate"), stale=True)
    assert left.report.promoted and left.report.kind == "original" and "nothing to learn from" in left.report.why
    assert left.state.correction is None and left.state.student is None
    assert left.state.lam != taught.lam and left.records is not None and len(left.records) == 300
    # Where there is enough, another is made, and the stale one is not what it is held against.
    again = slept(state=taught, strategy="adapter", stale=True)
    assert again.report.promoted and again.report.kind == "adapter"
    cancel = threading.Event()
    cancel.set()
    assert slept(state=taught, stale=True, cancel=cancel).state is taught


def test_calibration_records_only_certify():
    """Other answers for calibration records change the threshold, and nothing else of the new state."""
    told = slept(strategy="adapter").state
    other = slept(of=altered(episodes(), "calibrate", lambda f: -f), strategy="adapter")
    assert other.report.after.share < 0.05 < told.certificate.share
    half = altered(episodes(), "calibrate", lambda f: f if f.argmax() < 5 else -f)
    assert slept(of=half, strategy="adapter").report.after.lam > told.lam
    seen: list[State] = []
    certified = consolidation.certified

    def watched(state, *args, **named):
        seen.append(state)
        return certified(state, *args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(consolidation, "certified", watched)
        slept(strategy="adapter")
        slept(of=half, strategy="adapter")
    # Each time the new state and the old one, once each.
    assert len(seen) == 4 and seen[0].id == seen[2].id and seen[1].id == seen[3].id


def test_lessons_never_are_of_inputs_that_judge():
    of = episodes()
    twins = [of.digest[i] for i, r in enumerate(of.role) if r == "train"][:3]
    held = [i for i, r in enumerate(of.role) if r in ("fit", "calibrate", "gate")][:3]
    digests = list(of.digest)
    for i, digest in zip(held, twins, strict=True):
        digests[i] = digest
    found = lessons_of(replace(of, digest=digests), 1, 10_000)
    assert not set(found.episodes.digest) & set(twins)
    assert set(found.episodes.role) == {"train"} and len(found) == 1200 - 3


def test_lessons_are_the_newest_of_each_input_within_bounds():
    of = episodes()
    digests = [d if r != "train" else (int.from_bytes(d, "little") % 40 + 10_000).to_bytes(16, "little")
               for d, r in zip(of.digest, of.role, strict=True)]  # fmt: skip
    repeated = replace(of, digest=digests)
    found = lessons_of(repeated, 1, 10_000)
    assert len(set(found.episodes.digest)) == len(found)
    assert (found.episodes.epoch == 1).all()  # all inputs came again behind the alarm
    few = lessons_of(of, 1, 300)
    assert len(few) == 300 and (few.episodes.epoch == 1).sum() == 150
    assert few.episodes.request[few.episodes.epoch == 1].min() > np.median(of.request)
    assert (lessons_of(of, 1, 10_000, replay=False).episodes.epoch == 1).all()
    one, two = (lessons_of(of, 1, 300, seed=s).episodes.request for s in (0, 1))
    assert not np.array_equal(one, two)


def test_scorers_are_fitted_to_what_went_to_the_expensive_model_whatever_it_was():
    of = episodes()
    low = replace(of, path=["full" if i % 4 == 0 else p for i, p in enumerate(of.path)])
    assert set(Folds.of(low, 1).fit.path) == {"full:guard"}
    assert set(Folds.of(replace(of, path=["full"] * len(of)), 1).fit.path) == {"full"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"of": episodes().of_role("fit", "calibrate", "gate")}, "nothing to learn from"),
        ({"of": episodes().of_role("train", "fit", "calibrate")}, "0 records of the gate role are too few"),
        ({"of": episodes().of_role("train", "fit", "gate")}, "no calibration records"),
        ({"sleep": Sleep(student=Distil(source="pixels")), "strategy": "student"}, "keep no input 'pixels'"),
        ({"of": replace(episodes(), embedding=None), "strategy": "adapter"}, "no embeddings"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(given, why):
    found = slept(**given)
    assert not found.report.promoted and why in found.report.why


def test_tasks_without_logits_say_what_cannot_be_made():
    model = nights.cheap()
    for task, whys in (
        (Classification(probabilities=True), {"adapter": "only logits can be corrected"}),
        (Regression(tolerance=0.5), {"student": "students answer tasks of kind classification, not regression"}),
    ):
        other = type(model)(model.session, task, model.embed)
        found = slept(cheap=other, assessor=nights.Assessor(task), strategy="auto", budget_s=60.0)
        for kind, why in whys.items():
            assert next(why in t.why for t in found.report.tried if t.kind == kind)
        assert {t.kind for t in found.report.tried if not t.why} >= {"memory"}


def test_probabilities_make_students_that_give_probabilities():
    task = Classification(probabilities=True)
    of = episodes()
    as_probabilities = [None if f is None else np.exp(f) / np.exp(f).sum() for f in of.full]
    model = nights.cheap()
    found = slept(
        of=replace(of, full=as_probabilities), cheap=type(model)(model.session, task, model.embed),
        assessor=nights.Assessor(task), strategy="student",
    )  # fmt: skip
    assert found.report.promoted
    answer = FastPath(type(model)(model.session, task, model.embed), found.state).run({"x": of.inputs[0]["x"]}).answer
    assert answer.sum() == pytest.approx(1.0, abs=1e-5) and (answer >= 0).all()


@pytest.mark.parametrize(
    ("inputs", "source"),
    [
        (lambda x: {"x": x}, "x"),
        (lambda x: None, "embedding"),
        (lambda x: {"x": x, "y": x}, "embedding"),
        (lambda x: {"x": (x * 16).astype(np.int64)}, "embedding"),
        (lambda x: {"x": x[:, : 32 + int(x[0, 5] * 30)]}, "embedding"),
    ],
)  # fmt: skip
def test_students_see_the_input_where_it_is_kept_and_of_one_size(inputs, source):
    of = episodes()
    other = replace(of, inputs=[inputs(given["x"]) for given in of.inputs])
    sleep = Sleep(student=Distil(hidden=(8,), epochs=1), forget=1.0)
    pace = consolidation.Pace(None, None)
    made = candidates.taught(first_state(), lessons_of(other, 1, 500), nights.cheap(), sleep, pace, 1)
    assert made.student.source == source


def test_scorers_may_be_fitted_by_another_function():
    def fit(features, names, losses, *, alpha):
        assert features.shape == (180, len(names)) and len(losses) == 180 and alpha == 0.05
        return MarginScorer.fit(features, names, losses)

    assert slept(strategy="student", fit=fit).state.scorer.kind == "margin"


def test_a_scorer_that_is_given_stays():
    scorer = first_state().scorer
    assert slept(strategy="student", scorer=scorer).state.scorer is scorer


def test_reports_are_data_and_text():
    report = slept(strategy="adapter").report
    data = json.loads(json.dumps(report.as_data(), allow_nan=False))
    assert data["promoted"] and data["before"]["bound"] is not None and data["records"]["gate"] == 120
    assert set(data["seconds"]) == {"lessons", "memory", "adapter", "scorers", "gate"}
    text = str(report)
    assert text.startswith("promoted: ") and "agreement, old" in text and "tried adapter: share" in text
    assert report.total_seconds == pytest.approx(sum(report.seconds.values()))


@pytest.mark.parametrize("wrong", [{"strategy": "dream"}, {"idle_s": -1.0}, {"min_new": 0}, {"budget_s": 0.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError):
        Sleep(**wrong)
    with pytest.raises(OptionError, match="there is no strategy 'dream'"):
        slept(strategy="dream")
