"""The novelty alarm: quiet where inputs are as they were, quick where they move away, and the same after a restart."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_hrm.drift.novelty import NoveltyAlarm, Strangeness
from ronn_hrm.errors import CalibrationError, StateError

LIKE = {
    "normal": lambda rng, n: rng.normal(1, 0.2, n),
    "heavy": lambda rng, n: np.exp(rng.normal(size=n) * 2),
    "repeats": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.gamma(2, 1, n)),
    "one in three values": lambda rng, n: rng.choice([0.1, 0.2, 0.3], n),
}


def first(alarm, values):
    return next((i for i, x in enumerate(values.tolist(), 1) if alarm.update(x)), None)


@pytest.mark.parametrize("like", LIKE)
@pytest.mark.parametrize("size", [50, 300, 3000])
def test_quiet_where_nothing_changes(like, size):
    rng = np.random.default_rng(0)
    alarm = NoveltyAlarm.learn(LIKE[like](rng, size))
    assert first(alarm, LIKE[like](rng, 20_000)) is None
    assert alarm.count == 20_000


@pytest.mark.parametrize("like", ["normal", "heavy", "repeats"])
def test_quick_where_inputs_move_away(like):
    """To where the furthest two fifths of the reference were."""
    rng = np.random.default_rng(0)
    known = LIKE[like](rng, 500)
    alarm = NoveltyAlarm.learn(known)
    assert first(alarm, LIKE[like](rng, 1000)) is None
    far = np.sort(known)[-200:]
    assert first(alarm, rng.choice(far, 1000)) <= 80


def test_one_odd_value_is_no_alarm_and_familiar_ones_are_none():
    alarm = NoveltyAlarm.learn(np.linspace(0, 1, 100))
    assert not alarm.update(1e30)
    assert not alarm.update(math.inf)
    assert first(alarm, np.zeros(1000)) is None


@settings(derandomize=True)
@given(st.lists(st.floats(allow_nan=False), max_size=50), st.lists(st.floats(allow_nan=False), min_size=1, max_size=50))
def test_nan_is_passed_over_and_a_restart_changes_nothing(before, after):
    one = NoveltyAlarm.learn(np.arange(10.0), weight=0.3, sigmas=2.0)
    for x in before:
        one.update(x)
    two = NoveltyAlarm.from_data(json.loads(json.dumps(one.as_data())))
    assert not two.update(math.nan)
    assert [one.update(x) for x in after] == [two.update(x) for x in after]
    assert (one.value, one.count) == (two.value, two.count)


@settings(derandomize=True)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_the_mean_of_ranks_by_hand(values):
    known = np.arange(-4.0, 5.0)
    alarm = NoveltyAlarm.learn(known, weight=0.1, sigmas=3.0)
    reference, mean = np.quantile(known, (np.arange(9) + 0.5) / 9), 0.0
    for x in values:
        alarm.update(x)
        mean = 0.9 * mean + 0.1 * ((reference < x).mean() + (reference == x).mean() / 2 - 0.5)
    sd = math.sqrt((0.1 / 1.9 + 1 / 9) / 12)
    assert alarm.value == pytest.approx(mean / sd, abs=1e-9)


def test_too_few_to_learn_from():
    with pytest.raises(CalibrationError, match="needs two records at least with a novelty; there are 1"):
        NoveltyAlarm.learn([1.0, math.nan, math.inf])


def test_what_was_kept_and_cannot_be_read():
    data = NoveltyAlarm.learn(np.arange(9.0)).as_data()
    for broken in ({}, {**data, "reference": [2.0, 1.0]}, {**data, "reference": []}, {**data, "size": 0}):
        with pytest.raises(StateError, match="what was kept of the novelty alarm cannot be read"):
            NoveltyAlarm.from_data(broken)


def test_of_several_signals_the_first_that_is_strange_counts():
    usual = np.linspace(0, 1, 200)
    for strange in (0, 1):
        made = Strangeness({"doubt": NoveltyAlarm.learn(usual), "novelty": NoveltyAlarm.learn(usual)})
        rng = np.random.default_rng(3)
        assert not any(made.update(rng.uniform(size=2).tolist()) for _ in range(500))
        count = 0
        raised = False
        while not raised and count < 60:
            values = rng.uniform(size=2)
            values[strange] = 0.95
            raised = made.update(values.tolist())
            count += 1
        assert raised and made.leading == ("doubt", "novelty")[strange] and made.value > made.sigmas == 4.0
        kept = Strangeness.from_data(json.loads(json.dumps(made.as_data())))
        assert kept.as_data() == made.as_data()
        assert made.update([math.nan, math.nan]) is False
    with pytest.raises(StateError):
        Strangeness.from_data({"signals": {"doubt": {}}})
