"""``ronn bench``: a table, JSON, and an earlier result beside it."""

from __future__ import annotations

import json

import pytest

from ronn.cli.bench import fitting

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


def test_narrow_terminals_keep_what_matters_most():
    columns = ["threads", "callers", "P50", "P99", "mean", "least", "runs/s", "runs", "quickest to P95"]
    rows = [("1", "1", "1.0 ms", "2.0 ms", "1.5 ms", "0.9 ms", "1,000", "50", "▁" * 16)]
    assert fitting(columns, rows, 200) == (columns, rows)
    shown, cells = fitting(columns, rows, 70)
    assert "quickest to P95" in shown and "runs" not in shown and len(cells[0]) == len(shown)
    assert fitting(columns, rows, 10)[0] == ["threads", "P50", "P99", "runs/s"]
    assert "callers" in fitting(columns, [*rows, ("1", "2", *rows[0][2:])], 10)[0]


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
