"""Requests of several rows, and of other shapes, beside states that learnt from requests of one row."""

from __future__ import annotations

import nights
import numpy as np
import pair
import pytest
from nights import episodes, first_state, settings

import ronn
import ronn_hrm as hrm
from ronn.records import replace
from ronn_hrm.fast_path import CheapModel, FastPath
from ronn_hrm.router import Live
from ronn_hrm.sleep import Distil, Sleep, candidates, consolidate, consolidation
from ronn_hrm.sleep.lessons import lessons_of
from ronn_hrm.state import State


def student(source: str) -> State:
    sleep = Sleep(student=Distil(hidden=(16,), epochs=2, source=source))
    pace = consolidation.Pace(None, None)
    return candidates.taught(first_state(), lessons_of(episodes(), 1, 900), nights.cheap(), sleep, pace, 1)


def test_embeddings_are_of_one_row():
    images, _ = pair.traffic()
    for embed in (hrm.FromInput("x"), nights.cheap().embed):
        model = CheapModel(ronn.Session(pair.fast_model()), nights.TASK, embed)
        path = FastPath(model, first_state())
        two = path.run({"x": images[:2]})  # the first request decides nothing for those behind it
        assert two.embedding is None and two.known and len(two.answer) == 2
        one = path.run({"x": images[:1]})
        assert one.embedding is not None and len(one.embedding) == model.dims
        assert path.run({"x": images[:3]}).embedding is None


def test_embeddings_of_other_lengths_are_none():
    model = CheapModel(nights.cheap().session, hrm.Custom(lambda a, b: 0.0, "none"), hrm.FromInput("x"))
    assert model.embedding({"x": np.zeros(5, np.float32)}, None).shape == (5,)
    assert model.embedding({"x": np.zeros(6, np.float32)}, None) is None
    found = consolidate(first_state(), episodes(), strategy="memory", **settings()).state
    again = CheapModel(nights.cheap().session, nights.TASK, hrm.FromInput("x"))
    FastPath(again, found)
    assert again.dims == found.neighbours.dims == 24


@pytest.mark.parametrize("rows", [2, 5])
def test_a_student_on_an_input_answers_all_rows(rows):
    images, _ = pair.traffic()
    path = FastPath(nights.cheap(), student("x"))
    found = path.run({"x": images[:rows]})
    assert found.known and found.raw is None and found.embedding is None
    alone = np.concatenate([path.run({"x": images[i : i + 1]}).answer for i in range(rows)])
    np.testing.assert_allclose(found.answer, alone, rtol=1e-5, atol=1e-5)


def test_a_student_on_the_embedding_does_not_know_several_rows():
    images, _ = pair.traffic()
    path = FastPath(nights.cheap(), student("embedding"))
    assert path.run({"x": images[:1]}).known
    found = path.run({"x": images[:2]})
    assert not found.known
    np.testing.assert_array_equal(found.answer, found.raw)


def test_what_a_state_does_not_know_goes_to_the_expensive_model():
    images, _ = pair.traffic()
    fast, full = (ronn.Session(m, providers="cpu") for m in (pair.fast_model(), pair.full_model()))
    with hrm.HRMSession(fast, full, embed=nights.cheap().embed, policy=hrm.Cascade()) as session:
        router, live = session._router, session._router.live
        state = replace(student("embedding"), lam=-1e12, id="")
        router.live = Live(state, FastPath(session._parts.cheap, state), hrm.Cascade(), live.epoch, "")
        _, why = session.run(images[:2], explain=True)
        assert why.path == "full:shape"
        _, why = session.run(images[:1], explain=True)
        assert why.path == "fast"
