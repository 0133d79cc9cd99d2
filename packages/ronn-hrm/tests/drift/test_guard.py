"""The guard: what makes certificates void, and that it does so once."""

import json
import threading

import numpy as np
import pytest

from ronn_hrm.drift.guard import KEPT, Guard
from ronn_hrm.drift.novelty import NoveltyAlarm, Strangeness
from ronn_hrm.errors import StateError


def certified(novelty=None):
    guard = Guard(0.01, 100.0)
    assert guard.certify(0, novelty)
    return guard


def wrong_until_alarm(guard, at=5.0):
    for _ in range(100):
        alarm = guard.audited(1.0, at)
        if alarm is not None:
            return alarm
    return None


def test_cold_certified_guard_certified():
    guard = Guard(0.01, 100.0)
    assert (guard.phase, guard.epoch, guard.certified) == ("cold", 0, False)
    assert wrong_until_alarm(guard) is None
    guard.certify(0)
    assert guard.certified
    alarm = wrong_until_alarm(guard)
    assert (guard.phase, guard.epoch, guard.certified) == ("guard", 1, False)
    assert (alarm.kind, alarm.epoch, alarm.at) == ("audit", 0, 5.0)
    assert alarm.value >= 100
    assert alarm.text.startswith(
        f"audits say that the risk is above 0.01: evidence of {alarm.value:.0f} after {alarm.after}"
    )
    assert wrong_until_alarm(guard) is None  # in guard, nothing is left to void
    assert guard.certify(1)
    assert (guard.phase, guard.epoch) == ("certified", 1)
    assert wrong_until_alarm(guard).after == alarm.after  # the detector had started anew


def test_a_certificate_of_an_epoch_that_is_over_does_not_count():
    guard = certified()
    wrong_until_alarm(guard)
    assert not guard.certify(0)
    assert guard.phase == "guard"


def test_audits_go_on_through_certifying_again():
    guard = certified()
    guard.audited(1.0, 0.0)
    guard.certify(0)
    assert guard.audit.count == 1
    assert guard.audit.value > 0


def test_novelty_alarms():
    guard = certified(NoveltyAlarm.learn(np.arange(100.0)))
    assert all(guard.met(float(x), 1.0) is None for x in np.random.default_rng(0).permutation(100))
    alarms = [guard.met(99.0, 2.0) for _ in range(200)]
    (alarm,) = [a for a in alarms if a is not None]
    assert (alarm.kind, alarm.epoch, guard.phase, guard.epoch) == ("novelty", 0, "guard", 1)
    assert alarm.after == 100 + alarms.index(alarm) + 1
    assert alarm.text.startswith("inputs are more novel than those of calibration: 4.")
    guard.certify(1)  # without a reference there is no alarm
    assert all(guard.met(99.0, 3.0) is None for _ in range(200))


def test_lapse_keeps_the_epoch_and_void_ends_it():
    guard = certified()
    guard.lapse()
    assert (guard.phase, guard.epoch, guard.alarms) == ("cold", 0, ())
    guard.certify(0)
    guard.void("full: certified for f2, now other", 7.0)
    assert (guard.phase, guard.epoch) == ("cold", 1)
    assert [(a.kind, a.text, a.at) for a in guard.alarms] == [("void", "full: certified for f2, now other", 7.0)]
    guard.certify(1)
    wrong_until_alarm(guard)
    guard.lapse()
    assert guard.phase == "guard"


def test_the_last_alarms_are_remembered():
    guard = Guard(0.01, 100.0)
    for i in range(KEPT + 3):
        guard.void(str(i), 0.0)
    assert [a.text for a in guard.alarms] == [str(i) for i in range(3, KEPT + 3)]
    assert guard.epoch == KEPT + 3


@pytest.mark.parametrize("phase", ["cold", "certified", "guard"])
def test_a_restart_changes_nothing(phase):
    guard = Guard(0.01, 100.0)
    if phase != "cold":
        guard.certify(0, NoveltyAlarm.learn(np.arange(50.0)))
        guard.audited(1.0, 0.0)
        guard.met(3.0, 0.0)
    if phase == "guard":
        wrong_until_alarm(guard)
    data = json.loads(json.dumps(guard.as_data()))
    again = Guard.from_data(data, 0.01, 100.0)
    assert (again.as_data(), again.alarms) == (guard.as_data(), guard.alarms)
    assert wrong_until_alarm(again) == wrong_until_alarm(guard)
    assert (again.phase, again.epoch) == (guard.phase, guard.epoch)


def test_audits_of_another_target_do_not_count():
    guard = certified()
    guard.audited(1.0, 0.0)
    again = Guard.from_data(guard.as_data(), 0.02, 100.0)
    assert (again.audit.alpha, again.audit.count, again.phase) == (0.02, 0, "certified")


def test_what_was_kept_and_cannot_be_read():
    data = certified().as_data()
    for broken in ({}, {**data, "phase": "hot"}, {**data, "alarms": [{"kind": 1}]}, {**data, "epoch": None}):
        with pytest.raises(StateError, match="what was kept of the guard cannot be read"):
            Guard.from_data(broken, 0.01, 100.0)
    with pytest.raises(StateError, match="audit detector"):
        Guard.from_data({**data, "audit": {}}, 0.01, 100.0)


def test_a_lock_that_a_thread_of_the_parent_held_is_nobodys_in_the_child():
    guard = certified()
    guard._lock.acquire()
    guard.after_fork()
    assert wrong_until_alarm(guard) is not None


def test_eight_threads_raise_one_alarm_an_epoch():
    guard, found = certified(NoveltyAlarm.learn(np.arange(50.0))), []
    go = threading.Barrier(8)

    def work():
        go.wait()
        for _ in range(500):
            found.append(guard.audited(1.0, 0.0))
            found.append(guard.met(49.0, 0.0))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([a for a in found if a is not None]) == len(guard.alarms) == guard.epoch == 1


def test_the_signal_that_raised_an_alarm_is_told_and_both_survive_a_restart():
    usual = np.linspace(0, 1, 100)
    guard = certified(Strangeness({"doubt": NoveltyAlarm.learn(usual), "novelty": NoveltyAlarm.learn(usual)}))
    again = Guard.from_data(json.loads(json.dumps(guard.as_data())), 0.01, 2000)
    for one in (guard, again):
        alarms = [found for _ in range(200) if (found := one.met([0.99, 0.5], 1.0)) is not None]
        assert len(alarms) == 1 and "inputs are harder than" in alarms[0].text and one.epoch == 1
