"""``ronn bench``: a table, JSON, and an earlier result beside it."""

from __future__ import annotations

import json

import pytest

QUICK = ("--threads", "1", "--callers", "1", "--seconds", "0.02", "-p", "reference")


def test_bench_shows_a_row_for_each_size(ronn, classifier):
    result = ronn("bench", classifier, "--sweep", "batch=1,4", *QUICK)
    assert result.code == 0, result.err
    assert "batch=1" in result.out and "batch=4" in result.out and "items/s" in result.out
    assert "made up (seed 0): pixels" in result.out and "memory of the session" in result.out


def test_bench_writes_json_and_compares(ronn, classifier, tmp_path):
    earlier = tmp_path / "earlier.json"
    result = ronn("bench", classifier, *QUICK, "--dim", "batch=2", "--json", "--save", earlier)
    assert result.data["rows"][0]["p50"] > 0 and result.data["starts"][0]["load"] > 0
    assert json.loads(earlier.read_text()) == result.data
    result = ronn("bench", classifier, *QUICK, "--dim", "batch=2", "--compare", earlier)
    assert result.code == 0 and "Against the earlier result" in result.out
    result = ronn("bench", classifier, *QUICK, "--compare", classifier)
    assert result.code == 1 and "classifier.onnx: is no benchmark" in result.err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--threads", "x"), "--threads 'x' is no list"),
        (("--sweep", "batch"), "is not NAME=1,8,32"),
        (("--sweep", "bath=1"), "did you mean 'batch'?"),
        (("--sweep", "batch=1", "--dim", "batch=1"), "given by --dim and by --sweep"),
    ],
)
def test_bench_tells_what_is_wrong(ronn, classifier, wrong, said):
    result = ronn("bench", classifier, "-p", "reference", *wrong)
    assert result.code == 1 and said in result.err
