"""A cheap model out of an expensive one: made, calibrated on inputs of their own, and refused where it does not pay."""

from __future__ import annotations

import sys

import numpy as np
import pair
import pytest

import ronn
import ronn_hrm as hrm
from ronn.errors import InputError, OptionError
from ronn_hrm.advise import Costs
from ronn_hrm.built import requests, split
from ronn_hrm.errors import CalibrationError, RoutingError

X, _ = pair.traffic()


@pytest.fixture
def full_takes(monkeypatch):
    """Says how long the expensive model takes, in the place of clocks; the cheap one takes 100 µs, the router 20."""

    def told(seconds: float) -> None:
        monkeypatch.setattr("ronn_hrm.advise.measure", lambda *a, **b: Costs(1e-4, 2e-5, seconds, 9))

    told(1e-2)
    return told


def test_a_model_that_is_too_quick_is_refused_with_the_figures(full_takes):
    full_takes(5e-5)
    with pytest.raises(hrm.DoesNotPayError, match=r"(?s)pay:\n.*, layers 1 in 8 bits, 1 as .*force=True") as caught:
        hrm.from_model(pair.full_model(), {"x": X[:600]}, guarantee=hrm.Guarantee(0.05))
    report = caught.value.report
    assert not report.pays and not report.advice.pays
    assert f"{report.agreement:.1%}" in str(caught.value) and "do not cascade" in str(caught.value)
    assert report.rounded + report.fitted + report.calibrated == 600
    assert report.bytes_after < report.bytes_before


def test_by_force_it_is_made_and_calibrates_on_inputs_of_its_own(full_takes):
    full_takes(5e-5)
    made = hrm.from_model(pair.full_model(), {"x": X[:600]}, bits="4", force=True, guarantee=hrm.Guarantee(0.05))
    session, report = made
    with session:
        assert isinstance(session, hrm.HRMSession) and report.certificate is not None
        assert report.agreement > 0.9 and report.certificate.n == report.calibrated
        assert report.certificate == session.certificate() and f"{report.certificate.share:.1%}" in str(report)
        store = session._parts.store
        by_role = {r: set(store.episodes(roles=(r,), answers=False).digest) for r in ("train", "fit", "calibrate")}
        assert [len(v) for v in by_role.values()] == [report.rounded, report.fitted, report.calibrated]
        assert len(set.union(*by_role.values())) == 600
        rounding = split(ronn.load(pair.full_model()), {"x": X[:600]}).rounding
        with pytest.raises(CalibrationError, match="among those that memory or scorer were made from"):
            session.calibrate(rounding[:5])
        paths = [session.run({"x": row[None]}, explain=True)[1].answered_by for row in X[600:700]]
        assert paths.count("fast") > 50
    fast, full = session._owned
    for one in (fast, full):
        with pytest.raises(ronn.RonnError, match="closed"):
            one.run(X[:1])


def test_too_few_inputs_certify_nothing_and_say_how_many_lack(full_takes):
    session, report = hrm.from_model(pair.full_model(), {"x": X[:100]}, bits="4", force=True)
    session.close()
    assert report.certificate is None and not report.pays and report.least == 230
    assert f"{report.calibrated} calibration inputs are too few, 230 are the least" in str(report)
    with pytest.raises(CalibrationError, match="7 distinct inputs are too few"):
        hrm.from_model(pair.full_model(), {"x": X[:7]})


def test_lists_that_share_inputs_are_refused():
    with pytest.raises(CalibrationError, match="3 of 100 inputs to calibrate on are among those to round by"):
        hrm.from_model(pair.full_model(), round_on={"x": X[:53]}, calibrate_on={"x": X[50:150]})
    with pytest.raises(OptionError, match="both round_on and calibrate_on"):
        hrm.from_model(pair.full_model(), round_on={"x": X[:53]})
    with pytest.raises(OptionError, match="give data, or both"):
        hrm.from_model(pair.full_model(), {"x": X[:9]}, calibrate_on={"x": X[:53]})


def test_the_split_goes_by_content():
    model = ronn.load(pair.full_model())
    found = split(model, {"x": np.concatenate([X[:80], X[:20]])})
    again = split(model, [{"x": row[None]} for row in X[79::-1]])
    assert found.repeated == 20 and again.repeated == 0
    for a, b in zip(found[:3], again[:3], strict=True):
        assert [f["x"].tobytes() for f in a] == [f["x"].tobytes() for f in b]
    assert len(found.rounding) == 16 and len(found.fitting) == 12 and len(found.calibration) == 52


def test_a_model_that_is_slow_enough_pays(full_takes):
    full_takes(1e-2)
    session, report = hrm.from_model(pair.full_model(), X[:700], guarantee=hrm.Guarantee(0.05))
    session.close()
    assert report.pays and report.certificate is not None and "cascade: saves" in str(report)
    assert report.advice.costs.full == 1e-2


def test_times_are_measured():
    session, report = hrm.from_model(pair.full_model(), X[:100], force=True)
    session.close()
    assert report.advice.costs.runs >= 5 and 0 < report.advice.costs.full < 1


def test_without_the_quantiser(monkeypatch):
    monkeypatch.setitem(sys.modules, "ronn_provider_bitnet", None)
    with pytest.raises(OptionError, match=r"which is not installed\nhint: pip install .*\[bitnet\]"):
        hrm.from_model(pair.full_model(), {"x": X[:100]})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([{"y": X[:1]}], "request 0: the model has no input 'y'"),
        ([{"x": X[:1]}, {}], "request 1: required inputs are missing"),
        ({"x": X[:3], "y": X[:2]}, "different numbers of rows"),
    ],
)
def test_inputs_that_do_not_fit(data, said):
    with pytest.raises(InputError, match=said):
        requests(ronn.load(pair.full_model()), data)


def test_what_cannot_be_routed_is_closed_again():
    with pytest.raises(RoutingError, match="no output 'nothing'"):
        hrm.from_model(pair.full_model(), {"x": X[:50]}, task=hrm.Classification("nothing"))
