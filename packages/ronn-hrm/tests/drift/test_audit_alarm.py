"""The audit alarm: rare where the risk is what was certified, soon where it is not, and the same after a restart."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn.errors import OptionError
from ronn_hrm import Audit
from ronn_hrm.drift.audit import AuditDetector
from ronn_hrm.errors import StateError


def run_length(detector, losses):
    """Audits up to the alarm, or all of them."""
    for count, loss in enumerate(losses, 1):
        if detector.update(loss):
            return count
    return len(losses)


def median_delay(risk, runs=101, alpha=0.01, run_length_=2000.0):
    """After 300 audits at a third of alpha."""
    rng, found = np.random.default_rng(0), []
    for _ in range(runs):
        detector = AuditDetector(alpha, run_length_)
        if run_length(detector, (rng.random(300) < alpha / 3).astype(float).tolist()) < 300:
            continue
        found.append(run_length(detector, (rng.random(3000) < risk).astype(float).tolist()))
    return float(np.median(found))


@pytest.mark.parametrize("of", ["0 and 1", "fractions", "a half, at times", "in bursts"])
def test_false_alarms_are_as_rare_as_promised(of):
    """On average 200 audits or more pass at a risk of exactly alpha, whatever the losses are like."""
    rng, alpha, c = np.random.default_rng(1), 0.05, 200.0
    n = 8000

    def losses():
        if of == "0 and 1":
            return (rng.random(n) < alpha).astype(float)
        if of == "fractions":
            return rng.beta(0.5, 9.5, n)
        if of == "a half, at times":
            return np.where(rng.random(n) < 2 * alpha, 0.5, 0.0)
        # Each stretch of ten is wrong more often after a stretch that was right: the mean given the past is alpha.
        size = rng.choice([0.25, 0.5, 1.0], n // 10).repeat(10)
        return np.where(rng.random(n) < alpha / size, size, 0.0)

    found = [run_length(AuditDetector(alpha, c), losses().tolist()) for _ in range(120)]
    assert np.mean(found) + 2 * np.std(found) / np.sqrt(len(found)) >= c
    assert np.mean(found) >= c * 0.9


@pytest.mark.parametrize(("risk", "most"), [(0.12, 32), (0.06, 70), (0.03, 240), (0.02, 500)])
def test_alarms_come_soon(risk, most):
    assert median_delay(risk) <= most


def test_few_alarms_well_below_alpha():
    rng = np.random.default_rng(0)
    found = [
        run_length(AuditDetector(0.01, 2000.0), (rng.random(5000) < 0.003).astype(float).tolist()) for _ in range(100)
    ]
    assert sum(n < 5000 for n in found) <= 10


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0]) | st.floats(0, 1), max_size=50), st.floats(0.001, 0.9))
def test_wealth_is_that_by_hand(losses, alpha):
    """The sum over all starts of the product of the bets since."""
    detector = AuditDetector(alpha, 1e9)
    for loss in losses:
        detector.update(loss)
    bets = [
        (bet / alpha - 1) / (1 - alpha)
        for bet in (times * alpha / (1 - alpha + times * alpha) for times in (2, 4, 8, 16))
    ]
    expected = np.mean(
        [sum(np.prod([1 + b * (x - alpha) for x in losses[i:]]) for i in range(len(losses))) for b in bets]
    )
    assert detector.value == pytest.approx(expected if losses else 0.0, rel=1e-9)
    assert all(0 <= bet <= 1 / alpha for bet in bets)
    assert detector.count == len(losses)


@settings(derandomize=True)
@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=30))
def test_a_restart_changes_nothing(before, after):
    one = AuditDetector(0.02, 50.0)
    for loss in before:
        one.update(loss)
    two = AuditDetector.from_data(json.loads(json.dumps(one.as_data())))
    assert [one.update(x) for x in after] == [two.update(x) for x in after]
    assert (one.value, one.count) == (two.value, two.count)


def test_what_was_kept_and_cannot_be_read():
    data = AuditDetector(0.02, 50.0).as_data()
    for broken in ({}, {**data, "wealth": [0.0]}, {**data, "alpha": "x"}, {**data, "odds": [2]}, {**data, "alpha": 0}):
        with pytest.raises(StateError, match="what was kept of the audit detector cannot be read"):
            AuditDetector.from_data(broken)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate": -0.1}, r"rate=-0.1 of Audit is not from 0 to 1"),
        ({"max_rate": "many"}, r"max_rate='many' of Audit is not from 0 to 1"),
        ({"rate": 0.2}, r"rate=0.2 of Audit is above max_rate=0.1"),
        ({"mode": "later"}, r"there are no audits of mode 'later'"),
        ({"run_length": 0}, r"run_length=0 of Audit is no number of audits"),
        ({"least": -1}, r"least=-1 of Audit is no number of records"),
    ],
)
def test_settings_that_cannot_be(values, words):
    with pytest.raises(OptionError, match=words):
        Audit(**values)
    plain = {"rate": 0.05, "mode": "shadow", "max_rate": 0.1, "run_length": 2000.0, "least": 0}
    assert Audit().as_data() == plain
