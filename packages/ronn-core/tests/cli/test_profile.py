"""``ronn profile``: a table, and files."""

from __future__ import annotations

import json


def test_profile_tells_the_slowest_kernels(ronn, classifier):
    result = ronn("profile", classifier, "--runs", 3, "--provider", "reference", "--top", 2)
    assert result.code == 0, result.err
    assert "time of a run" in result.out and "median of 3" in result.out
    assert "more (--top 0 shows all)" in result.out and "reference (Python)" in result.out


def test_profile_writes_a_page_and_a_trace(ronn, classifier, tmp_path):
    page, trace = tmp_path / "p.html", tmp_path / "t.json"
    result = ronn(
        "profile", classifier, "-n", 2, "-p", "reference", "--html", page, "--trace", trace, "--dim", "batch=2"
    )
    assert result.code == 0, result.err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads(trace.read_text())["traceEvents"]
    assert str(page) in result.out and str(trace) in result.out


def test_profile_as_json(ronn, classifier):
    data = ronn("profile", classifier, "-n", 2, "-p", "reference", "--shape", "pixels=2,3,8,8", "--json").data
    assert data["signature"] == "f32[2,3,8,8]" and data["runs"] == 2
    ops = "+".join(k["ops"] for k in data["kernels"])
    assert "Conv" in ops and "Gemm" in ops
    assert all(k["seconds"] >= 0 for k in data["kernels"])


def test_a_precision_that_is_not_known(ronn, classifier):
    assert ronn("profile", classifier, "-n", 1, "-p", "reference", "--precision", "bf16").code == 0
    result = ronn("profile", classifier, "-n", 1, "-p", "reference", "--precision", "int2")
    assert result.code != 0 and "float32, bf16" in result.err
