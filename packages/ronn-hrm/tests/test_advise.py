"""Whether a cascade pays: the break-even, what would have to change, and the times it is computed from."""

from __future__ import annotations

import json
import math

import pair
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ronn
from ronn.errors import OptionError
from ronn_hrm.advise import LEAST_SAVED, SMALL_FULL, advise, held_bytes, measure

shares = st.floats(0, 1)
slow = st.floats(SMALL_FULL, 10)
quick = st.floats(1e-6, SMALL_FULL, exclude_max=True)
cheap = st.floats(0, 0.1)


@given(c1=cheap, router=cheap, c2=slow, share=shares, audit=shares)
def test_a_cascade_pays_where_it_saves_more_than_it_costs(c1, router, c2, share, audit):
    gain, price = c2 * (share - audit), c1 + router
    assume(abs(gain - price) > 1e-9)
    found = advise(c1, router, c2, share, audit)
    assert found.pays == (gain > price)
    assert found.saved * c2 == pytest.approx(gain - price, abs=1e-9)
    assert found.mean == pytest.approx(c1 + router + (1 - share) * c2)
    assert str(found).startswith("cascade: saves" if found.pays else "do not cascade: ")


@given(c1=cheap, router=cheap, c2=st.one_of(slow, quick), share=shares, audit=shares, known=st.booleans())
def test_what_would_have_to_change_is_where_the_advice_turns(c1, router, c2, share, audit, known):
    about = {"runs": 5 * known, "certified": known}
    found = advise(c1, router, c2, share, audit, **about)
    assert not (found.pays and found.needs)
    cheap_now = c1 + router

    def pays(**changed):
        now = {"c1": cheap_now, "c_router": 0.0, "c2": c2, "share": share, "audit_rate": audit, **about, **changed}
        return advise(**now).pays

    tests = {
        "share": lambda v, d: {"share": min(v + d, 1.0), "runs": 5, "certified": True},
        "full": lambda v, d: {"c2": v * (1 + d)},
        "fast_and_router": lambda v, d: {"c1": max(v * (1 - d), 0.0), "runs": 5, "certified": True},
        "audit": lambda v, d: {"audit_rate": max(v - d, 0.0), "runs": 5, "certified": True},
    }
    for name, value in found.needs.items():
        if value is None or min(abs(value), abs(1 - value)) < 1e-3:  # no room beside it
            continue
        assert pays(**tests[name](value, 1e-4)), name
        assert not pays(**tests[name](value, -1e-4)), name


def test_a_share_next_to_nothing_never_pays():
    found = advise(0.0, 0.0625, 1.0, 2.2e-313, 0.0)
    assert not found.pays and found.needs["full"] is None


def test_a_quick_expensive_model_asks_for_evidence():
    guess = advise(20e-6, 20e-6, 500e-6, share=0.9)
    assert not guess.pays and "measure the times and certify the share first" in guess.why
    assert guess.needs == {"full": SMALL_FULL}
    assert advise(20e-6, 20e-6, 500e-6, share=0.9, runs=9, certified=True).pays
    assert not advise(20e-6, 20e-6, 500e-6, share=0.9, runs=9).pays
    noise = advise(20e-6, 20e-6, 500e-6, share=0.05 + 0.08 + LEAST_SAVED / 2, runs=9, certified=True)
    assert not noise.pays and noise.saved > 0 and "lost in noise" in noise.why


def test_nothing_certified_is_nothing_saved():
    found = advise(1e-4, 2e-5, 20e-3, share=0.0)
    assert not found.pays and found.needs["share"] == pytest.approx(0.05 + 0.12e-3 / 20e-3)
    assert found.needs["full"] is None and "nothing is saved" in found.why
    assert "it would pay with the cheap model answering more than 5.6% (now 0.0%)" in str(found)
    assert advise(0.03, 0.0, 0.02, share=0.9).needs == {
        "share": None, "full": pytest.approx(0.03 / 0.85), "fast_and_router": pytest.approx(0.017), "audit": None,
    }  # fmt: skip


def test_advice_is_json_and_tells_the_memory():
    found = advise(1e-3, 1e-4, 20e-3, 0.7, runs=3, certified=True, memory=77_000_000)
    assert json.loads(json.dumps(found.as_data())) == found.as_data()
    assert "memory rises by 77.0 MB: both models stay loaded" in str(found)
    assert "the slowest requests get slower: 21.1 ms" in str(found)
    assert "memory rises by the cheap model" in str(advise(1e-3, 1e-4, 20e-3, 0.7))


@pytest.mark.parametrize(
    "given", [{"c1": -1.0}, {"c2": math.inf}, {"c_router": math.nan}, {"share": 1.1}, {"audit_rate": -0.1}]
)
def test_what_is_no_time_or_share_is_refused(given):
    usual = {"c1": 1e-3, "c_router": 1e-5, "c2": 1e-2, "share": 0.5, "audit_rate": 0.05}
    with pytest.raises(OptionError):
        advise(**{**usual, **given})


class Slow:
    """A model that says when it was asked, on a clock that tests move."""

    def __init__(self, clock, seconds, log, name):
        self.clock, self.seconds, self.log, self.name = clock, seconds, log, name

    def run(self, inputs):
        self.log.append((self.name, inputs["x"]))
        self.clock[0] += self.seconds
        return {"y": inputs["x"]}


def test_times_are_taken_in_turn_and_the_first_round_is_not_counted(monkeypatch):
    now, log = [0.0], []
    monkeypatch.setattr("ronn_hrm.advise.time.perf_counter", lambda: now[0])

    def route(x, outputs):
        log.append(("router", outputs["y"]))
        now[0] += 0.002

    fast, full = Slow(now, 0.01, log, "fast"), Slow(now, 0.1, log, "full")
    found = measure(fast, full, [{"x": 1}, {"x": 2}], route, budget=1.0)
    assert (found.fast, found.router, found.full) == pytest.approx((0.01, 0.002, 0.1))
    assert found.runs == 9  # of 0.112 s each, until a second is over
    assert log[:6] == [("fast", 1), ("router", 1), ("full", 1), ("fast", 2), ("router", 2), ("full", 2)]
    assert measure(fast, full, [{"x": 1}], budget=0.0).runs == 5
    with pytest.raises(OptionError, match="no inputs"):
        measure(fast, full, [])


def test_two_small_models_do_not_pay():
    fast, full = ronn.Session(pair.fast_model()), ronn.Session(pair.full_model())
    x, _ = pair.traffic()
    costs = measure(fast, full, [{"x": row[None]} for row in x[:20]], budget=0.05)
    assert costs.runs >= 5 and costs.fast > 0 and costs.full > 0
    assert costs.full < SMALL_FULL
    found = advise(costs.fast, costs.router, costs.full, 0.5, runs=costs.runs, memory=held_bytes(fast))
    assert not found.pays and found.memory is not None and found.memory >= 650 * 4
