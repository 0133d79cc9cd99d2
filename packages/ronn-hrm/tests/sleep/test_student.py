"""Students: ternary networks that learn, stop when told, and are the same network in any runtime."""

from __future__ import annotations

import time

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ronn
from ronn.errors import OptionError
from ronn_hrm.sleep.student import Distil, as_onnx, scores, softmax, targets_of, teach


def problem(count: int = 600, dims: int = 20, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and logits of a network that is to be imitated."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, dims)).astype(np.float32)
    hidden = np.maximum(x @ random.normal(size=(dims, 12)), 0)
    return x, (hidden @ random.normal(size=(12, classes))).astype(np.float32)


def test_it_learns_and_all_weights_are_ternary():
    x, logits = problem(2000)
    layers = teach(x[:1500], targets_of(logits[:1500], 0.5), Distil(hidden=(64,), epochs=20))
    same = scores(layers, x[1500:]).argmax(1) == logits[1500:].argmax(1)
    assert same.mean() > 0.7
    for layer in layers:
        assert set(np.unique(layer.codes)) <= {-1, 0, 1} and layer.codes.dtype == np.int8
        assert layer.scale.shape == layer.bias.shape == (len(layer.codes),)


@given(
    dims=st.integers(1, 9), classes=st.integers(2, 5), hidden=st.lists(st.integers(1, 7), max_size=2),
    count=st.integers(1, 12), probabilities=st.booleans(), offset=st.sampled_from([0.0, 50.0]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_the_file_is_the_network(dims, classes, hidden, count, probabilities, offset):
    x, logits = problem(count, dims, classes)
    x += np.float32(offset)
    layers = teach(x, targets_of(logits, 1.0), Distil(hidden=tuple(hidden), epochs=2, batch=5))
    model = as_onnx(layers, probabilities=probabilities)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    expected = scores(layers, x)
    if probabilities:
        expected = softmax(expected)
    found = ronn.Session(model).run({"x": x})["scores"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * (1 + offset))


def test_other_runtimes_compute_the_same():
    x, logits = problem()
    layers = teach(x, targets_of(logits, 0.5), Distil(hidden=(32, 16), epochs=3))
    session = onnxruntime.InferenceSession(as_onnx(layers), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], scores(layers, x), rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_bits_and_weights_count():
    x, logits = problem()
    targets = targets_of(logits, 0.5)
    one, two = (as_onnx(teach(x, targets, Distil(epochs=3), seed=5)) for _ in range(2))
    assert one == two != as_onnx(teach(x, targets, Distil(epochs=3), seed=6))
    # Two teachers contradict each other: who weighs more is believed.
    twice, both = np.vstack([x, x]), np.vstack([targets, targets[:, ::-1]])
    for heavy in (0, 1):
        weights = np.repeat(np.array([1.9, 0.1] if heavy == 0 else [0.1, 1.9], np.float32), len(x))
        layers = teach(twice, both, Distil(epochs=10), weights=weights)
        believed, doubted = (targets, targets[:, ::-1])[:: 1 if heavy == 0 else -1]
        said = scores(layers, x).argmax(1)
        assert (said == believed.argmax(1)).mean() > 0.5 > 0.3 > (said == doubted.argmax(1)).mean()


def test_it_stops_between_batches_when_told():
    x, logits = problem()
    seen = []

    class Enough(Exception):
        pass

    def check() -> None:
        seen.append(1)
        if len(seen) == 5:
            raise Enough

    with pytest.raises(Enough):
        teach(x, targets_of(logits, 0.5), Distil(batch=50), check=check)
    assert len(seen) == 5


def test_no_time_means_one_epoch():
    x, logits = problem()
    calls = []
    teach(x, targets_of(logits, 0.5), Distil(epochs=500), until=time.monotonic(), check=lambda: calls.append(1))
    assert len(calls) == 5  # 600 rows in batches of 128


def test_targets_lie_between_what_is_soft_and_what_is_hard():
    logits = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    soft, hard = targets_of(logits, 0.0), targets_of(logits, 1.0)
    np.testing.assert_allclose(soft, softmax(logits), rtol=1e-6)
    np.testing.assert_array_equal(hard, np.eye(2, dtype=np.float32))
    np.testing.assert_allclose(targets_of(logits, 0.25), 0.25 * hard + 0.75 * soft, rtol=1e-6)
    np.testing.assert_allclose(targets_of(soft, 0.0, probabilities=True), soft, rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"rate": 0.0}, {"hard": 1.5}, {"hidden": (0,)}, {"batch": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError):
        Distil(**wrong)
