"""Certificates: what they say, on disk and back, and when they say nothing."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_hrm import Certificate
from ronn_hrm.errors import StateError
from ronn_hrm.guarantee import Guarantee, calibrate
from ronn_hrm.guarantee.certificate import ASSUMPTIONS

MARKS = {"fast": "f1", "full": "f2", "task": "t", "ronn": "0.1"}


def certificate(**values):
    known = {
        "kind": "ucb", "alpha": 0.01, "delta": 0.1, "lam": 1.25, "n": 1000, "wrong": 5.0, "share": 0.82,
        "bound": 0.0093, "since": 1.7e9, "epoch": 2, "scorer": "logistic", "task": {"kind": "classification"},
        "fingerprints": dict(MARKS),
    }  # fmt: skip
    return Certificate(**{**known, **values})


NUMBERS = st.floats(0, 1)
CERTIFICATES = st.builds(
    certificate,
    kind=st.sampled_from(["ucb", "crc", "selective", "anytime"]),
    alpha=NUMBERS,
    delta=NUMBERS,
    lam=st.floats(allow_nan=False, allow_infinity=False),
    n=st.integers(0, 2**53),
    wrong=st.floats(0, 1e9),
    share=NUMBERS,
    since=st.floats(0, 1e11),
    epoch=st.integers(0, 10**9),
    scorer=st.text(),
    fingerprints=st.dictionaries(st.text(), st.text()),
)


@settings(derandomize=True)
@given(CERTIFICATES)
def test_json_and_back(known):
    assert Certificate.from_json(known.to_json()) == known
    assert str(known).splitlines()[1].startswith("  answers  where the score is ")


def test_on_disk_and_back(tmp_path):
    path = tmp_path / "certificate.json"
    certificate().save(path)
    certificate(epoch=3).save(str(path))
    assert Certificate.load(path) == certificate(epoch=3)
    assert [p.name for p in tmp_path.iterdir()] == ["certificate.json"]
    assert json.loads(path.read_text())["assumptions"] == [*ASSUMPTIONS, certificate().assumptions[-1]]


def test_a_certificate_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "certificate.json"
    certificate().save(path)
    with pytest.raises(StateError, match="cannot be written with lam=inf"):
        certificate(lam=math.inf).save(path)
    assert Certificate.load(path) == certificate()
    assert [p.name for p in tmp_path.iterdir()] == ["certificate.json"]


def test_of_a_threshold():
    scores, guarantee = np.arange(500.0), Guarantee(0.02, 0.05)
    about = {"since": 5.0, "epoch": 1, "scorer": "margin", "task": {"kind": "regression"}, "fingerprints": MARKS}
    found = calibrate(scores, np.where(scores < 20, 1.0, 0.0), guarantee)
    made = Certificate.of(found, guarantee, **about)
    assert (made.lam, made.n, made.wrong, made.share, made.bound) == (
        found.lam,
        500,
        found.wrong,
        found.share,
        found.bound,
    )
    assert (made.kind, made.alpha, made.delta, made.scorer, made.epoch) == ("ucb", 0.02, 0.05, "margin", 1)
    assert Certificate.of(calibrate(scores[:50], scores[:50] * 0, guarantee), guarantee, **about) is None


def test_it_holds_for_what_was_certified_and_for_nothing_else():
    assert certificate().check(MARKS) == ()
    assert certificate().check({**MARKS, "full": "other"}) == ("full: certified for f2, now other",)
    assert certificate().check({"fast": "f1", "task": "t", "ronn": "0.1", "assessor": "a"}) == (
        "assessor: certified without it, now a",
        "full: certified for f2, now missing",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the certificate is no JSON"),
        (b"\xff\xfe\x00", "the certificate is no JSON"),
        ("[]", "the certificate is no certificate of ronn-hrm"),
        ('{"format": "other", "schema": 1}', "is no certificate of ronn-hrm"),
        ('{"format": "ronn-hrm-certificate", "schema": 2}', "has schema 2, and this version of ronn-hrm reads 1"),
    ],
)
def test_files_of_another_kind(text, words):
    with pytest.raises(StateError, match=words):
        Certificate.from_json(text)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("kind", "sure", "'kind' of the certificate is 'sure', and must be one of ucb"),
        ("alpha", 2, "'alpha' of the certificate is 2, and must be a number from 0 to 1"),
        ("lam", None, "'lam' of the certificate is None, and must be a finite number"),
        ("lam", math.nan, "'lam' .* must be a finite number"),
        ("n", 1.5, "'n' .* must be a count"),
        ("n", True, "'n' .* must be a count"),
        ("since", "today", "'since' .* must be seconds"),
        ("fingerprints", {"fast": 1}, "'fingerprints' .* must be an object of texts"),
        ("assumptions", "A1", "'assumptions' .* must be a list of texts"),
        ("scorer", 1, "'scorer' .* must be a text"),
        ("task", [], "'task' .* must be an object"),
    ],
)
def test_fields_that_cannot_be(name, value, words):
    with pytest.raises(StateError, match=words):
        Certificate.from_data({**certificate().as_data(), name: value})
    data = certificate().as_data()
    del data[name]
    with pytest.raises(StateError, match=f"'{name}' of the certificate is missing"):
        Certificate.from_data(data)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(StateError, match=r"none\.json' cannot be read: No such file"):
        Certificate.load(tmp_path / "none.json")


def test_what_has_to_hold_depends_on_the_kind():
    last = {kind: certificate(kind=kind).assumptions[-1] for kind in ("ucb", "crc", "selective", "anytime")}
    assert last["ucb"] == last["selective"] != last["anytime"]
    assert "for this certificate" in last["ucb"]
    assert "on average" in last["crc"]
    assert "all certificates of this state" in last["anytime"]
    assert all(certificate(kind=kind).assumptions[:4] == ASSUMPTIONS for kind in last)
    assert certificate(assumptions=("A0: none",)).assumptions == ("A0: none",)


def test_as_a_text():
    assert str(certificate()).splitlines()[:7] == [
        "At most 0.01 of all traffic gets an answer that the expensive model would not have given, with probability "
        "0.9 over the draw of the records.",
        "  answers  where the score is 1.25 or more",
        "  found    1000 records: 82.0% at or above the threshold, 5 wrong; risk at most 0.0093",
        "  kind     ucb, alpha=0.01, delta=0.1; scorer logistic; task classification",
        "  since    2023-11-14 22:13:20 UTC, epoch 2",
        "  for      fast f1, full f2, ronn 0.1, task t",
        "  as long as",
    ]
    assert "At most 0.01 of the cheap model's answers" in str(certificate(kind="selective"))
    assert "on average" in str(certificate(kind="crc"))
    assert "for all certificates" in str(certificate(kind="anytime"))
