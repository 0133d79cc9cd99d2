"""The commands that look at models: inspect, check, explain."""

from __future__ import annotations

import pytest


def test_inspect_tells_what_the_model_is_made_of(ronn, classifier):
    data = ronn("inspect", classifier, "--json").data
    assert data["operators"]["Conv"] == 1 and data["nodes"] == 6
    assert data["opsets"] == {"ai.onnx": 17}
    assert data["parameters"] == {"float": {"tensors": 6, "elements": 172, "bytes": 688}}
    assert data["metadata"] == {"labels": "a,b,c"}
    assert data["inputs"] == [
        {"name": "pixels", "dtype": "float", "shape": ["batch", 3, 8, 8], "type": "f32[batch,3,8,8]"}
    ]
    text = ronn("inspect", classifier).out
    for word in ("a test", "f32[batch,3,8,8]", "BatchNormalization", "688 B", "labels"):
        assert word in text


def test_inspect_ir_is_text_that_parses(ronn, classifier):
    from ronn import load
    from ronn.ir.text import graph_constants, parse

    text = ronn("inspect", classifier, "--ir").out
    graph = parse(text, graph_constants(load(classifier).graph))
    assert [n.op for n in graph] == ["Conv", "BatchNormalization", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


@pytest.mark.parametrize(
    ("after", "there", "gone"),
    [
        ("imported", "BatchNormalization(", "@"),
        ("portable", "Conv(", "BatchNormalization("),
        ("specialised", "Conv(", "BatchNormalization("),
        ("assigned", "@reference", "BatchNormalization("),
        ("fuse-conv-bn", "# after fuse-conv-bn:", "BatchNormalization("),
    ],
)
def test_inspect_after_a_stage_or_pass(ronn, classifier, after, there, gone):
    result = ronn("inspect", classifier, "--after", after, "--provider", "reference")
    assert result.code == 0, result.err
    assert there in result.out and gone not in result.out


def test_inspect_after_with_sizes(ronn, classifier):
    assert "f32[5,12]" in ronn("inspect", classifier, "--after", "specialised", "--dim", "batch=5").out


def test_inspect_after_needs_a_name_that_there_is(ronn, classifier):
    result = ronn("inspect", classifier, "--after", "fuse-conv-bm")
    assert result.code == 1 and "did you mean 'fuse-conv-bn'?" in result.err
    result = ronn("inspect", classifier, "--after", "fuse-conv-bn", "-O", "none")
    assert result.code == 1 and "does not run with these options" in result.err


def test_check_is_content_with_a_model_that_runs(ronn, classifier):
    result = ronn("check", classifier)
    assert result.code == 0 and "every node runs on" in result.out


def test_check_names_the_node_and_each_reason(ronn, foreign):
    result = ronn("check", foreign, "--provider", "reference", "--json")
    assert result.code == 3
    (row,) = result.data["unsupported"]
    assert (row["node"], row["op"], row["opset"]) == ("the strange one", "org.example::Warp", 1)
    assert list(row["reasons"]) == ["reference"] and row["reasons"]["reference"]
    table = ronn("check", foreign)
    assert table.code == 3 and "the strange one" in table.out


def test_run_of_an_unsupported_model_names_the_node(ronn, foreign):
    result = ronn("run", foreign)
    assert result.code == 1 and "PlacementError" in result.err and "the strange one" in result.err


def test_explain_gives_a_reason_for_every_node(ronn, classifier):
    data = ronn("explain", classifier, "--provider", "reference", "--json").data
    assert data["counts"] == {"reference": len(data["nodes"])}
    assert all(row["provider"] == "reference" and row["reason"] for row in data["nodes"])
    assert any("fuse-conv-bn" in tag for row in data["nodes"] for tag in row["tags"])
    text = ronn("explain", classifier, "--provider", "reference", "--summary").out
    assert "nodes by provider: reference" in text and "copies between memories: 0" in text


def test_explain_shows_who_refused(ronn, classifier):
    data = ronn("explain", classifier, "-p", "null", "-p", "reference", "--json").data
    assert set(data["counts"]) <= {"null", "reference"}
    assert ronn("explain", classifier, "-p", "null", "-p", "reference").code == 0


def test_inspect_writes_a_page(ronn, classifier, tmp_path):
    page = tmp_path / "c.html"
    result = ronn("inspect", classifier, "--html", page, "-p", "reference", "--dim", "batch=2")
    assert result.code == 0 and result.out == "" and f"wrote {page}" in result.err
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "f32[2,3,8,8]" in text and "fuse-conv-bn" in text


def test_inspect_writes_a_page_and_what_else_is_asked_for(ronn, classifier, tmp_path):
    result = ronn("inspect", classifier, "--html", tmp_path / "c.html", "-p", "reference", "--json")
    assert result.data["nodes"] == 6
    assert "batch = 1" in result.err  # a size that nobody gave
