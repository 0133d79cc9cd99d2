"""The comparison accepts what it may and fails on wrong data."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tolerance import compare_outputs, compare_values, worst_of

VALUES = np.linspace(-2, 2, 64, dtype=np.float32).reshape(8, 8)


def moved(by: float) -> np.ndarray:
    changed = VALUES.copy()
    changed[3, 3] += by
    return changed


def test_float32_bound_is_relative_to_the_largest_value() -> None:
    bound = 1e-4 * 2 + 1e-5
    assert compare_values(VALUES, moved(bound * 0.95)).ok
    result = compare_values(VALUES, moved(bound * 1.1))
    assert not result.ok and result.reason == "differs too much"
    assert result.worst == pytest.approx(bound * 1.1, rel=1e-3)
    assert result.relative == pytest.approx(result.worst / 2)


def test_float16_bound_is_wider_and_only_for_float16() -> None:
    assert not compare_values(VALUES, moved(3e-3)).ok
    assert compare_values(VALUES, moved(3e-3), "float16").ok
    assert not compare_values(VALUES, moved(6e-3), "float16").ok
    half = VALUES.astype(np.float16)
    assert compare_values(half, moved(3e-3).astype(np.float16)).ok


@pytest.mark.parametrize(
    "wrong",
    [
        VALUES.T.copy(),
        VALUES[:4],
        VALUES.astype(np.float64),
        np.zeros_like(VALUES),
        -VALUES,
        np.full_like(VALUES, np.nan),
        np.where(VALUES > 1.9, np.inf, VALUES).astype(np.float32),
        VALUES.tolist(),
        None,
    ],
    ids=["transposed", "shape", "dtype", "zeros", "sign", "nan", "inf", "list", "none"],
)
def test_wrong_floats_fail(wrong: object) -> None:
    assert not compare_values(VALUES, wrong).ok


def test_nan_and_infinity_have_to_agree() -> None:
    odd = VALUES.copy()
    odd[0, :3] = np.nan, np.inf, -np.inf
    assert compare_values(odd, odd.copy()).ok
    swapped = odd.copy()
    swapped[0, 1:3] = -np.inf, np.inf
    assert not compare_values(odd, swapped).ok


def test_integers_booleans_and_strings_have_to_be_equal() -> None:
    numbers = np.arange(10)
    changed = numbers.copy()
    changed[9] += 1
    assert compare_values(numbers, numbers.copy()).ok
    assert compare_values(numbers, changed).reason == "1 of 10 integers differ"
    assert not compare_values(numbers, numbers.astype(np.int32)).ok
    assert not compare_values(np.array([True, False]), np.array([True, True])).ok
    words = np.array(["a", "名詞"], dtype=object)
    assert compare_values(words, words.copy()).ok
    assert not compare_values(words, np.array(["a", "b"], dtype=object)).ok


def test_sequences_of_maps() -> None:
    expected = [{0: 0.25, 1: 0.75}, {0: 0.5, 1: 0.5}]
    assert compare_values(expected, [{0: 0.25001, 1: 0.74999}, {0: 0.5, 1: 0.5}]).ok
    assert not compare_values(expected, [{0: 0.26, 1: 0.74}, {0: 0.5, 1: 0.5}]).ok
    assert not compare_values(expected, [{0: 0.25, 2: 0.75}, {0: 0.5, 1: 0.5}]).ok
    assert not compare_values(expected, expected[:1]).ok
    assert not compare_values([{"a": 1}], [{"b": 1}]).ok


def test_sequences_of_arrays_and_empty_arrays() -> None:
    assert compare_values([VALUES, VALUES], [VALUES, VALUES]).ok
    assert not compare_values([VALUES, VALUES], [VALUES, moved(1.0)]).ok
    empty = np.zeros((0, 3), np.float32)
    assert compare_values(empty, empty.copy()).ok
    assert compare_values([], []).ok


def test_outputs_by_name() -> None:
    assert all(item.ok for item in compare_outputs({"y": VALUES}, {"y": VALUES}).values())
    assert compare_outputs({"y": VALUES, "z": VALUES}, {"y": VALUES})["z"].reason == "output is missing"
    assert compare_outputs({"y": VALUES}, {"y": VALUES, "z": VALUES})["z"].reason == "output was not expected"


def test_worst_of_prefers_a_failure() -> None:
    small, failed = compare_values(VALUES, moved(1e-4)), compare_values(np.arange(3), np.arange(1, 4))
    assert small.ok and worst_of([small, failed]) is failed
