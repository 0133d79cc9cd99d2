"""What a session's metrics, history and folder say of it."""

from __future__ import annotations

import math
from collections import Counter

import folders
import pytest

import ronn_hrm as hrm
from ronn_hrm.errors import StateError
from ronn_hrm.guarantee import calibrate
from ronn_hrm.history import read_history
from ronn_hrm.kept import Kept, groups_from, task_from
from ronn_hrm.supervisor import WINDOW
from ronn_hrm.watching import state_bytes


def test_a_folder_has_the_history_and_the_settings(tmp_path, monkeypatch):
    folders.known_coin(monkeypatch)
    with folders.session(tmp_path, audit=hrm.Audit(rate=0.08)) as session:
        decisions = folders.serve(session, folders.stream(850))
        session._parts.store.flush()
        gauges = session.metrics.gauges()
        assert gauges["cache_entries"] == len(session._parts.cache) > 0 and gauges["cache_bytes"] > 0
        assert gauges["episodes"] == session._parts.store.count() and gauges["episode_bytes"] > 0
        assert gauges["lam"] == session.state.lam and gauges["alpha"] == folders.ALPHA
        assert gauges["state_bytes"] == state_bytes(session.state) > 64 * 2
        assert gauges["queue"] == gauges["guard"] == gauges["epoch"] == 0
        certificate = session.certificate()
        with Kept(tmp_path) as looked_at:  # by another program, while the session has it open
            assert looked_at.certificate == certificate and len(looked_at.events) > 0
            assert [w.last for w in looked_at.windows] == [w.last for w in session._parts.history.windows]
            assert looked_at.store.count() == session._parts.store.count()
        runs = session.metrics.count("full_runs")
    assert certificate is not None
    windows, events = read_history(tmp_path)
    assert len(windows) == math.ceil(850 / WINDOW) and windows[-1].last == 850
    paths = Counter(d.path for d in decisions)
    assert {p: sum(w.paths.get(p, 0) for w in windows) for p in paths} == paths
    assert sum(w.full_runs for w in windows) == runs
    assert windows[-1].gauges["lam"] == certificate.lam and windows[-1].gauges["episodes"] > 0
    found = [e for e in events if e.kind == "certificate"]
    assert found[-1].about["share"] == certificate.share and found[0].request < 850
    with Kept(tmp_path) as kept:
        assert kept.certificate == certificate and kept.phase == "certified" and kept.epoch == 0
        assert kept.guarantee == hrm.Guarantee(alpha=folders.ALPHA) and kept.audit_rate == 0.08
        assert kept.task == hrm.Classification()
        assert kept.settings["policy"] == {"kind": "cascade"} and kept.settings["full"] is None
        assert kept.windows == windows and kept.events == events


def test_records_of_a_folder_certify_what_its_session_certified(tmp_path, monkeypatch):
    folders.known_coin(monkeypatch)
    with folders.session(tmp_path) as session:
        folders.serve(session, folders.stream(850))
        state, certificate = session.state, session.calibrate()
    assert certificate is not None and state.neighbours is not None
    with Kept(tmp_path) as kept:
        found = kept.records(kept.store.episodes(roles=("calibrate",), epoch=0))
        assert found is not None and len(found) == certificate.n > 45
        again = calibrate(kept.needed_state().scorer.score_many(found.features), found.losses, kept.guarantee)
    assert (again.lam, again.wrong, again.share) == (certificate.lam, certificate.wrong, certificate.share)


def test_an_alarm_is_an_event_and_a_restart_goes_on(tmp_path, monkeypatch):
    folders.known_coin(monkeypatch)
    decisions = folders.served(tmp_path)
    windows, events = read_history(tmp_path)
    alarm = next(e for e in events if e.kind == "alarm")
    assert alarm.about["kind"] in ("novelty", "audit") and 1200 < alarm.request <= 1500
    assert any(w.gauges["guard"] == 1 for w in windows) and decisions[-1].id == windows[-1].last == 1500
    with Kept(tmp_path) as kept:
        assert kept.epoch >= 1
    with folders.session(tmp_path) as again:
        folders.serve(again, folders.stream(10, seed=3))
    assert read_history(tmp_path)[0][-1].first == 1501


def test_jobs_that_fail_behind_answers_are_counted(tmp_path, monkeypatch):
    with folders.session(tmp_path) as session:
        monkeypatch.setattr(session._parts.history, "tick", lambda number: 1 / 0)
        folders.serve(session, folders.stream(WINDOW))
        assert session.metrics.count("failures", "job") == 1
        assert session.metrics.as_data()["failures"] == {"job": 1}
        monkeypatch.undo()


@pytest.mark.parametrize(
    "task",
    [hrm.Classification("scores", probabilities=True), hrm.Regression(0.5, "y"), hrm.TokenLabels("t", strict=True)],
)
def test_tasks_come_back_from_what_is_kept(task):
    assert task_from(task.as_data()) == task


def test_what_plain_values_do_not_tell_is_none(tmp_path):
    assert task_from(hrm.Custom(lambda a, b: 0.0, "mine").as_data()) is None
    assert groups_from([{"kind": "confidence"}, {"kind": "of my own"}]) is None
    groups = [hrm.Confidence(), hrm.Neighbourhood(k=4), hrm.Tokens("ids"), hrm.InputShape()]
    assert [g.as_data() for g in groups_from([g.as_data() for g in groups])] == [g.as_data() for g in groups]
    with pytest.raises(StateError, match="holds no memory"):
        Kept(tmp_path)
