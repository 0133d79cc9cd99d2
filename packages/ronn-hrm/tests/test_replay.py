"""Replay of a real log: other policies, bounds, and that every decision can be made again to the bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import folders
import numpy as np
import pytest

import ronn_hrm as hrm
from ronn.errors import OptionError
from ronn_hrm.contenders import BASELINES, POLICIES, contender
from ronn_hrm.guarantee import calibrate
from ronn_hrm.kept import Kept
from ronn_hrm.replay import check, replay, stream_of


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder of 1,500 requests with an alarm, and the decisions as the session told them."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        folders.known_coin(patch)
        groups = [hrm.Confidence(), hrm.Neighbourhood(), hrm.InputShape()]
        decisions = folders.served(folder, groups=groups)
    return folder, decisions


@pytest.fixture
def kept(served):
    with Kept(served[0]) as opened:
        yield opened


@pytest.fixture
def stream(kept):
    state = kept.needed_state()
    return stream_of(kept.store.logged(), kept.audited(), state.names, kept.records(kept.audited()))


def run(name, stream, kept, **options):
    made = contender(name, stream, kept.needed_state(), kept.guarantee, **options)
    assert not isinstance(made, str), made
    return replay(stream, made, kept.guarantee)


def test_every_decision_in_the_log_is_made_again_to_the_bit(kept, served):
    logged = kept.store.logged()
    found = check(logged, kept.archive.load)
    scored = sum(d.score is not None for d in served[1])
    assert (found.logged, found.scored, found.equal, found.followed) == (1500, scored, scored, scored)
    assert found.sound and not found.lacking
    assert str(found) == f"{scored} of {scored} scored decisions replay bit-equal from their states"


def test_a_log_that_was_tampered_with_is_noticed(kept):
    logged = kept.store.logged()
    at = next(i for i, e in enumerate(logged) if e.decision.path == "fast")
    d = logged[at].decision
    raised = tuple((n, v + 1e-3) if n == "confidence" else (n, v) for n, v in d.features)
    for changed in (replace(d, score=np.nextafter(d.score, np.inf)), replace(d, features=raised), replace(d, lam=0.0)):
        found = check([*logged[:at], replace(logged[at], decision=changed), *logged[at + 1 :]], kept.archive.load)
        assert found.differ == (d.id,) and not found.sound and str(d.id) in str(found)
    misled = check([replace(logged[at], decision=replace(d, path="full"))], kept.archive.load)
    assert (misled.equal, misled.followed) == (1, 0)
    gone = check(logged, lambda id: None)
    assert gone.scored == 0 and sum(gone.lacking.values()) == found.scored and gone.sound
    assert "not kept any more" in str(gone)


def test_baselines_are_what_they_are(stream, kept):
    always, cache, fast = (run(n, stream, kept) for n in ("always-full", "cache", "always-fast"))
    assert (always.full, always.runs, always.risk, always.bound) == (1, 1, 0, 0)
    repeats = 1 - len(set(stream.keys)) / len(stream)
    assert repeats > 0.1 and cache.cache == pytest.approx(repeats) and cache.runs == pytest.approx(1 - repeats)
    assert fast.fast == 1 and fast.runs == 0
    collecting = stream.loss[stream.audited & stream.collecting].mean()
    usual = stream.loss[stream.audited & ~stream.collecting].mean()
    share = stream.collecting.mean()
    assert 0.1 < share < 0.9
    assert fast.risk == pytest.approx(share * collecting + (1 - share) * usual) and fast.bound > fast.risk > 0.02
    oracle = run("oracle", stream, kept)
    assert oracle.risk == 0 and oracle.fast > 0.4
    assert always.seconds > 0 and fast.audited == int(stream.audited.sum()) > 100


def test_the_state_as_it_is_keeps_to_alpha_where_it_was_certified(stream, kept):
    found = run("current", stream, kept, audit=0.05)
    assert found.lam == kept.needed_state().lam
    assert found.runs == pytest.approx(found.full + 0.05 * found.fast)
    scores = kept.needed_state().scorer.score_many(stream.features)
    by_hand = (scores >= found.lam) & stream.known
    seen, served = set(), 0
    for key, may in zip(stream.keys, by_hand, strict=True):
        if key in seen:
            continue
        served += may
        if not may:
            seen.add(key)
    assert found.fast == pytest.approx(served / len(stream))


def test_other_alphas_are_certified_on_audited_requests(stream, kept):
    assert 0 < stream.recent.sum() < stream.audited.sum()
    scores = kept.needed_state().scorer.score_many(stream.features[stream.recent])
    made = []
    for alpha in (0.01, 0.05, 0.08, 0.12):
        by_hand = calibrate(scores, stream.loss[stream.recent], hrm.Guarantee(alpha))
        found = contender(f"cascade={alpha}", stream, kept.needed_state(), kept.guarantee)
        if not by_hand.certified:
            assert isinstance(found, str) and "nothing is certified" in found
            continue
        made.append(replay(stream, found, kept.guarantee))
        assert made[-1].lam == by_hand.lam and made[-1].alpha == alpha
    assert len(made) >= 2 and made[0].fast <= made[1].fast <= made[-1].fast


def test_tuned_and_static_thresholds(stream, kept):
    tuned = run("tuned=0.04", stream, kept, cache=False)
    scores = kept.needed_state().scorer.score_many(stream.features)
    losses, count = np.where(stream.recent, stream.loss, 0.0), stream.recent.sum()
    assert losses[scores >= tuned.lam].sum() / count <= 0.04
    next_one = scores[stream.recent & (scores < tuned.lam)].max()
    assert losses[scores >= next_one].sum() / count > 0.04
    static = run("static-threshold=0.6", stream, kept, cache=False)
    at = stream.names.index("confidence")
    assert static.fast == pytest.approx((stream.features[:, at] >= math.log(0.6 / 0.4)).mean())
    budget = run("budgeted=0.3", stream, kept, cache=False)
    assert budget.lam <= kept.needed_state().lam
    assert (scores[stream.recent] < budget.lam).mean() <= 0.3
    assert 0 <= run("size", stream, kept).fast <= 1


def test_what_was_audited_more_often_weighs_less(stream, kept):
    """Parts of a stream that were sampled at different rates count by their sizes, and each has its bound."""
    guarantee = replace(kept.guarantee, delta=kept.guarantee.delta / 2)
    found = run("always-fast", stream, kept)
    bound = 0.0
    for part in (stream.collecting, ~stream.collecting):
        losses = stream.loss[part & stream.audited]
        bound += part.mean() * clopper_pearson(int(losses.sum()), len(losses), guarantee.delta)
    assert found.bound == pytest.approx(bound, abs=1e-6)
    none = replace(stream, audited=stream.audited & stream.collecting)
    blind = replay(none, contender("always-fast", none, kept.needed_state(), kept.guarantee), kept.guarantee)
    assert blind.bound > (~stream.collecting).mean()  # of what nobody looked at, all may be wrong


def clopper_pearson(wrong, count, delta):
    """Clopper and Pearson's, by SciPy."""
    from scipy.stats import beta

    return beta.ppf(1 - delta, wrong + 1, count - wrong)


def test_results_are_json_and_unknown_policies_are_refused(stream, kept):
    for name in POLICIES:
        made = contender(name, stream, kept.needed_state(), kept.guarantee)
        if not isinstance(made, str):
            data = replay(stream, made, kept.guarantee).as_data()
            assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert set(BASELINES) < set(POLICIES)
    for text, words in (
        ("always-ful", "did you mean 'always-full'"),
        ("cache=1", "takes no value"),
        ("cascade=x", "is no number"),
        ("tuned=1.5", "not between 0 and 1"),
    ):
        with pytest.raises(OptionError, match=words):
            contender(text, stream, kept.needed_state(), kept.guarantee)


def test_an_empty_log_is_no_error(kept):
    state = kept.needed_state()
    stream = stream_of([], hrm.Episodes.of([]), state.names)
    found = replay(stream, contender("always-full", stream, state, kept.guarantee), kept.guarantee)
    assert found.requests == 0 and math.isnan(found.risk) and found.as_data()["seconds"] is None
    for name in ("tuned", "budgeted"):
        assert "no audited requests" in contender(name, stream, state, kept.guarantee)
    assert "nothing is certified" in contender("cascade", stream, state, kept.guarantee)
