"""Positive lists, known failures, tolerances, the counting of ONNX's tests, the report."""

from __future__ import annotations

import json
import types
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from ronn_testkit import onnx_backend, onnx_cases
from ronn_testkit.passes import PassList, differences, fixed, onnx_series, read_known_failures
from ronn_testkit.report import Findings, badge, write
from ronn_testkit.tolerance import explain_difference


def listed(**names: set[str]) -> PassList:
    return PassList(onnx_series(), since={n: 13 for group in names.values() for n in group}, **names)


def test_list_reads_what_it_writes(tmp_path: Path) -> None:
    before = listed(native={"test_a"}, fallback={"test_a", "test_b"})
    before.write(tmp_path / "passes.txt")
    assert PassList.read(tmp_path / "passes.txt") == before
    assert "test_b  since:13  fallback" in (tmp_path / "passes.txt").read_text()


def test_list_of_one_column(tmp_path: Path) -> None:
    path = tmp_path / "passes.txt"
    path.write_text("# onnx 1.23\n# columns: native\ntest_a since:6 native\n")
    read = PassList.read(path)
    assert (read.columns, read.native, read.fallback) == (("native",), {"test_a"}, set())
    read.write(path)
    assert PassList.read(path) == read


@pytest.mark.parametrize("line", ["test_a", "test_a since:6 nativ", "test_a 6 native", "test_a since:6 native more"])
def test_bad_lines_are_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "passes.txt").write_text(f"# onnx 1.23\n{line}\n")
    with pytest.raises(ValueError, match=r"passes.txt:2"):
        PassList.read(tmp_path / "passes.txt")


def test_failing_unlisted_and_unknown_names_are_differences() -> None:
    have = listed(native={"test_a", "test_gone", "test_broken"})
    found = differences(have, "native", passed={"test_a", "test_new"}, ran={"test_a", "test_new", "test_broken"})
    assert found == [
        "test_broken is listed as native but fails",
        "test_new passes native but is not listed",
        "test_gone is listed but not in the suite",
    ]


def test_another_onnx_has_other_tests() -> None:
    have = listed(native={"test_a", "test_gone"})
    have.series = "1.99"
    assert differences(have, "native", passed={"test_a", "test_new"}, ran={"test_a", "test_new"}) == []
    assert differences(have, "native", passed=set(), ran={"test_a"}) == ["test_a is listed as native but fails"]


def test_known_failures(tmp_path: Path) -> None:
    path = tmp_path / "known_failures.txt"
    assert read_known_failures(path) == {}
    path.write_text("# why\ntest_a  rounds twice\n")
    known = read_known_failures(path)
    assert fixed(known, {"test_b"}) == []
    assert fixed(known, {"test_a"}) == ["test_a is a known failure (rounds twice) but passes: take it out"]
    path.write_text("test_a\n")
    with pytest.raises(ValueError, match="has no reason"):
        read_known_failures(path)


F = np.float32


@pytest.mark.parametrize(
    ("got", "want", "level", "close"),
    [
        (F(1), F(1), "exact", True),
        (np.nextafter(F(1), F(2)), F(1), "exact", False),
        (np.nextafter(F(1), F(2)), F(1), "rounded", True),
        (np.nextafter(F(0), F(1)), np.nextafter(F(0), F(-1)), "rounded", False),
        (F(-0.0), F(0.0), "exact", True),
        (F(np.nan), F(np.nan), "exact", True),
        (F(np.nan), F(1), "rounded", False),
        (F(np.inf), F(np.inf), "close", True),
        (F(np.inf), F(3e38), "close", False),
        (F(1.00001), F(1), "close", True),
        (F(1.001), F(1), "close", False),
        (ml_dtypes.bfloat16(1.0078125), ml_dtypes.bfloat16(1), "rounded", True),
        (ml_dtypes.bfloat16(1.015625), ml_dtypes.bfloat16(1), "rounded", False),
        (ml_dtypes.float8_e4m3fn(1.25), ml_dtypes.float8_e4m3fn(1), "exact", False),
        (ml_dtypes.int4(3), ml_dtypes.int4(3), "close", True),
        (np.int8(-128), np.int8(127), "close", False),
    ],
)
def test_levels(got: np.generic, want: np.generic, level: str, close: bool) -> None:
    assert (explain_difference(np.array([got]), np.array([want]), level) == "") is close


def test_dtype_and_shape_must_be_equal() -> None:
    assert "dtype" in explain_difference(np.zeros(2), np.zeros(2, F), "close")
    assert "shape" in explain_difference(np.zeros(1, F), np.zeros((), F), "close")
    assert "sequence" in explain_difference([np.zeros(1)], [], "exact")
    assert explain_difference([np.ones(1, F)], [np.ones(1, F)], "exact") == ""


class _Backend:
    """Answers 7 to everything; refuses Relu; calls nothing compatible, which must not hide a failure."""

    @staticmethod
    def prepare(model: object, device: str = "CPU", **kwargs: object) -> object:
        return types.SimpleNamespace(run=lambda inputs: [np.array(7)])

    @staticmethod
    def run_model(model: object, inputs: object, device: str = "CPU", **kwargs: object) -> object:
        raise NotImplementedError

    @staticmethod
    def is_compatible(model: object, device: str = "CPU") -> bool:
        return False


def test_wrong_answers_and_incompatible_models_count_as_failures() -> None:
    results = onnx_cases.run(_Backend, names=["test_relu", "test_ReLU"])
    assert {r.name: (r.group, r.passed) for r in results} == {
        "test_relu": ("node", False),
        "test_ReLU": ("converted", False),
    }
    assert onnx_cases.counts(results)["total"] == {"passed": 0, "total": 2}


def test_reference_alone_passes_an_old_softmax() -> None:
    results = onnx_cases.run(onnx_backend.backend_of("ronn", ["reference"]), names=["test_Softmax", "test_relu"])
    assert [(r.name, r.passed) for r in results] == [("test_relu", True), ("test_Softmax", True)]


def test_comparison_page() -> None:
    run = {
        "label": "RONN", "backend": "ronn", "suite": "onnx 1.23.2", "locale_en_US.UTF-8": False,
        "counts": {"node": {"passed": 1, "total": 2}, "total": {"passed": 1, "total": 2}},
        "failed": {"test_x": {"group": "node", "reason": "a | b"}, "test_bernoulli": {"group": "node", "reason": "c"}},
    }  # fmt: skip
    page = onnx_backend.markdown([run, {**run, "label": "other", "backend": "onnxruntime", "failed": {}}])
    assert "| RONN | 1 | 0 | 0 | 0 | 0 | 1 |" in page
    assert "| test_x | node | a \\| b | passes |" in page
    assert "random" in page and "was not installed" in page


def test_report_files(tmp_path: Path) -> None:
    findings = Findings("toy", passed=["import"], failed={"numerics": "Relu: 1 of 3\nelements"})
    write(findings, tmp_path, operators=[{"op": "Relu", "claimed": ["float32"], "refused": ["float16"]}], timings=[])
    record = json.loads((tmp_path / "toy.json").read_text())
    assert record["failed"] == findings.failed and record["not_yet"]
    page = (tmp_path / "toy.md").read_text()
    assert "| Relu | float32 | float16 |" in page and "**failed**: Relu: 1 of 3 elements" in page
    assert "#e05d44" in (tmp_path / "toy.svg").read_text()
    assert "#4c1" in badge(Findings("toy", passed=["import"]))
