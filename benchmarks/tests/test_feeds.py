"""Fills give the arrays that they name, and the same ones every time."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.zoo.feeds import fill_array, load_arrays, make_feed, save_arrays
from benchmarks.zoo.manifest import load_manifest


def fill(text: str, shape: tuple[int, ...] = (4, 5), dtype: str = "float32") -> np.ndarray:
    return fill_array(text, shape, dtype, np.random.default_rng(0))


def test_uniform_and_normal_with_factor_and_offset() -> None:
    plain = np.random.default_rng(0)
    np.testing.assert_array_equal(fill("u01"), plain.random((4, 5)).astype(np.float32))
    assert fill("u01*255", (1000,)).max() > 200
    shifted = fill("u01*2+10", (1000,))
    assert shifted.min() >= 10 and shifted.max() < 12
    assert fill("u01+3", (1000,)).min() >= 3
    assert 0.08 < fill("n01*0.1", (1000,)).std() < 0.12


def test_integers_exclude_the_upper_end() -> None:
    values = fill("int:1:4", (1000,), "int64")
    assert values.dtype == np.int64 and set(values.tolist()) == {1, 2, 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ones", [[1, 1, 1], [1, 1, 1]]),
        ("zeros", [[0, 0, 0], [0, 0, 0]]),
        ("arange", [[0, 1, 2], [0, 1, 2]]),
        ("value:7", [[7, 7, 7], [7, 7, 7]]),
        ("list:1,2,3,4,5,6", [[1, 2, 3], [4, 5, 6]]),
    ],
)
def test_fixed_fills(text: str, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(fill(text, (2, 3), "int64"), expected)


def test_scalar_and_empty_shapes() -> None:
    assert fill("value:16000", (), "int64").shape == ()
    assert fill("n01*0.1", (1, 3, 0, 64)).shape == (1, 3, 0, 64)


def test_strings() -> None:
    assert fill("const:a,*", (1, 2), "str").tolist() == [["a", "*"]]
    assert fill("cycle:a,b", (3, 1), "str").tolist() == [["a"], ["b"], ["a"]]


@pytest.mark.parametrize(
    ("text", "shape", "dtype"),
    [
        ("uniform", (2,), "float32"),
        ("u01x3", (2,), "float32"),
        ("u01*", (2,), "float32"),
        ("list:1,2", (3,), "int64"),
        ("const:a", (2,), "str"),
        ("u01", (2,), "str"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(ValueError):
        fill(text, shape, dtype)


def test_every_synthetic_feed_has_its_shape_and_repeats() -> None:
    for model in load_manifest().models.values():
        for size in model.sizes:
            if any(item.fill == "rows" or item.fill.startswith("npz:") for item in size.inputs):
                continue
            if sum(int(np.prod(item.shape)) for item in size.inputs) > 4_000_000:
                continue
            feed = make_feed(model, size)
            for item in size.inputs:
                assert feed[item.name].shape == item.shape, (model.name, size.label)
                assert item.dtype == "str" or feed[item.name].dtype == item.dtype
            again = make_feed(model, size)
            assert all(np.array_equal(feed[name], again[name]) for name in feed)


def test_saved_arrays_come_back(tmp_path) -> None:
    values = {
        "gpu_0/data": np.arange(6.0).reshape(2, 3),
        "file": np.array(3),
        "text": np.array([["a"], ["b"]], dtype=object),
        "maps": [{0: 0.5, 1: 0.25}],
    }
    path = tmp_path / "arrays.npz"
    save_arrays(path, values)
    back = load_arrays(path)
    assert list(back) == list(values)
    np.testing.assert_array_equal(back["gpu_0/data"], values["gpu_0/data"])
    assert back["file"] == 3 and back["maps"] == [{0: 0.5, 1: 0.25}]
    assert back["text"].tolist() == [["a"], ["b"]]
