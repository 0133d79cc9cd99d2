"""Training with weights of one and two bits: quantisers and their gradients, conversion, the recipe, the export."""

from __future__ import annotations

import copy
import math

import numpy as np
import onnxruntime
import pytest
from digits import data
from hypothesis import given, settings
from hypothesis import strategies as st

import ronn
from ronn_provider_bitnet.passes.find_bits import find
from ronn_provider_bitnet.quantize import Settings, quantize

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402

from ronn_provider_bitnet.training import (  # noqa: E402
    BitConv2d,
    BitLinear,
    TrainingError,
    convert,
    distillation_loss,
    export_onnx,
    fit,
    freeze,
    quantisers,
)


@pytest.fixture(autouse=True)
def repeatable():
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(st.integers(1, 9), st.integers(1, 300), st.booleans(), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_ternary_weights(n, k, per_row, seed):
    w = normal(n, k, seed=seed)
    scale = np.maximum(np.abs(w).mean(axis=1 if per_row else None, keepdims=True), 1e-5)
    expected = np.clip(np.rint(w / scale), -1, 1) * scale
    q = quantisers.ternary(torch.from_numpy(w), per_row=per_row).numpy()
    near = np.abs(np.abs(w / scale) - 0.5) < 1e-5  # the mean, and so the threshold, is rounded in another order
    np.testing.assert_allclose(q[~near], expected[~near], rtol=1e-5)
    assert set(np.unique(np.sign(q))) <= {-1, 0, 1} and all(len(np.unique(np.abs(r[r != 0]))) <= 1 for r in q)


@given(st.integers(1, 9), st.integers(1, 300), st.booleans(), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_binary_weights(n, k, per_row, seed):
    w = normal(n, k, seed=seed)
    w[0, 0] = 0
    scale = np.maximum(np.abs(w).mean(axis=1 if per_row else None, keepdims=True), 1e-5)
    q = quantisers.binary(torch.from_numpy(w), per_row=per_row).numpy()
    np.testing.assert_allclose(q, np.where(w >= 0, scale, -scale), rtol=1e-5)


@pytest.mark.parametrize(("quantiser", "bits"), [(quantisers.ternary, 2), (quantisers.binary, 1)])
@pytest.mark.parametrize("per_row", [True, False])
def test_the_provider_finds_the_bits_of_quantised_weights(quantiser, bits, per_row):
    q = quantiser(torch.from_numpy(normal(64, 96)), per_row=per_row).numpy()
    found = find(q)
    assert (found.bits, found.group) == (bits, 0)


@pytest.mark.parametrize("axes", [(-1,), (-3, -2, -1)])
def test_activations_of_eight_bits_are_bitnets(axes):
    x = normal(3, 4, 5, 6) * np.float32(7)
    x[1, 2] = 0
    scale = np.float32(127) / np.maximum(np.abs(x).max(axis=axes, keepdims=True), np.float32(1e-5))
    expected = np.clip(np.rint(x * scale), -128, 127) / scale
    np.testing.assert_array_equal(quantisers.eight_bits(torch.from_numpy(x), axes).numpy(), expected)


def test_signs_of_zeros_are_ones():
    x = torch.tensor([-2.0, -0.0, 0.0, 1e-30, 3.0])
    assert quantisers.signs(x).tolist() == [-1, 1, 1, 1, 1]


@pytest.mark.parametrize("quantiser", [quantisers.ternary, quantisers.binary, quantisers.eight_bits])
def test_gradients_go_straight_through(quantiser):
    x = torch.from_numpy(normal(5, 33)).requires_grad_()
    weights = torch.from_numpy(normal(5, 33, seed=1))
    (quantiser(x) * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def test_gradients_of_signs_end_beyond_one():
    x = torch.tensor([-1.5, -1.0, -0.5, 0.0, 1.0, 1.001], requires_grad=True)
    (quantisers.signs(x) * torch.arange(1.0, 7.0)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("bits", [1, 1.58])
@pytest.mark.parametrize("activations", [1, 8, None])
def test_layers_multiply_what_is_quantised(bits, activations):
    linear = BitLinear(33, 17, bits=bits, activations=activations)
    conv = BitConv2d(3, 5, 3, stride=2, padding=1, bits=bits, activations=activations, per_row=False)
    for layer, x, axes in ((linear, normal(4, 33), (-1,)), (conv, normal(2, 3, 9, 9), (-3, -2, -1))):
        x = torch.from_numpy(x)
        rounded = x
        if activations is not None:
            rounded = quantisers.signs(x) if activations == 1 else quantisers.eight_bits(x, axes)
        w = (quantisers.binary if bits == 1 else quantisers.ternary)(layer.weight.detach(), per_row=layer is linear)
        multiply = nn.functional.linear if layer is linear else lambda *v: nn.functional.conv2d(*v, 2, 1)
        assert torch.equal(layer(x).detach(), multiply(rounded, w, layer.bias.detach()))
        assert f"bits={bits}, activations={activations}" in repr(layer)


def test_unknown_bits_are_refused():
    with pytest.raises(TrainingError, match="weights of 3 bits"):
        BitLinear(4, 4, bits=3)
    with pytest.raises(TrainingError, match="activations of 4 bits"):
        BitConv2d(4, 4, 3, activations=4)


def layered() -> nn.Module:
    return nn.ModuleDict({
        "first": nn.Conv2d(1, 8, 3), "deep": nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Linear(8, 8)),
        "grouped": nn.Conv2d(8, 8, 3, groups=8), "last": nn.Linear(8, 2),
    })  # fmt: skip


def test_conversion_leaves_edges_groups_and_what_is_named():
    assert convert(layered()) == ["deep.0", "deep.2"]
    assert convert(layered(), edges=True) == ["first", "deep.0", "deep.2", "last"]
    assert convert(layered(), skip=["deep.2"]) == ["deep.0"]
    with pytest.raises(TrainingError, match="no layer 'deeper'"):
        convert(layered(), skip=["deeper"])
    with pytest.raises(TrainingError, match="no layer to convert"):
        convert(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    with pytest.raises(TrainingError, match="no layer to convert"):
        convert(nn.Linear(2, 2), edges=True)


def test_conversion_leaves_weights_that_are_shared():
    model = nn.ModuleDict({"bytes": nn.Embedding(16, 8), "inner": nn.Linear(8, 8), "head": nn.Linear(8, 16)})
    model["head"].weight = model["bytes"].weight
    assert convert(model, edges=True) == ["inner"]


def test_conversion_keeps_parameters():
    model = layered()
    before = dict(model.named_parameters())
    convert(model, bits=1, activations=1, edges=True)
    after = dict(model.named_parameters())
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)
    deep = model["deep"]
    assert isinstance(deep[0], BitConv2d) and isinstance(deep[2], BitLinear)
    assert (deep[2].bits, deep[2].activations, deep[2].per_row) == (1, 1, True)


@pytest.mark.parametrize("bits", [1, 1.58])
def test_frozen_models_compute_the_same(bits):
    model = nn.Sequential(BitConv2d(2, 4, 3, bits=bits), nn.Flatten(), BitLinear(36, 5, bits=bits))
    x = torch.from_numpy(normal(3, 2, 5, 5))
    before = model(x)
    freeze(model)
    assert torch.equal(model(x), before)
    assert all(find(layer.weight.detach().flatten(1).numpy()) for layer in (model[0], model[2]))


def test_distillation_is_divergence_and_cross_entropy():
    logits, teacher = normal(2, 3, 7), normal(2, 3, 7, seed=1)
    labels = np.random.default_rng(2).integers(0, 7, (2, 3))

    def soft(x: np.ndarray) -> np.ndarray:
        e = np.exp(x.astype(np.float64))
        return e / e.sum(axis=-1, keepdims=True)

    entropy = -np.log(np.take_along_axis(soft(logits), labels[..., None], -1)).mean()
    p, q = soft(teacher / 2), soft(logits / 2)
    divergence = 4 * (p * np.log(p / q)).sum(axis=-1).mean()
    given = [torch.from_numpy(a) for a in (logits, teacher, labels)]
    for share in (0.0, 0.3, 1.0):
        loss = distillation_loss(*given, share=share, temperature=2).item()
        assert math.isclose(loss, share * divergence + (1 - share) * entropy, rel_tol=1e-5)
    assert abs(distillation_loss(given[0], given[0], given[2], share=1).item()) < 1e-6


def batches():
    x, y, _, _ = data()
    rows = torch.Generator().manual_seed(0)
    while True:
        chosen = torch.randint(len(x), (32,), generator=rows).numpy()
        yield torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen])


@pytest.fixture(scope="module")
def floats() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.Hardtanh(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.Hardtanh(), nn.Flatten(),
        nn.Linear(32 * 36, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    losses = fit(model, batches(), 200)
    assert np.mean(losses[-20:]) < 0.2 * np.mean(losses[:20])
    return model


@pytest.mark.parametrize(("bits", "activations", "least"), [(1.58, 8, 0.96), (1, 8, 0.96), (1, 1, 0.9)])
def test_a_trained_model_runs_everywhere_the_same(floats, tmp_path, bits, activations, least):
    model = copy.deepcopy(floats)
    assert convert(model, bits=bits, activations=activations) == ["4", "8"]
    fit(model, batches(), 150, teacher=floats)
    _, _, x, y = data()
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    assert (expected.argmax(axis=1) == y).mean() >= least

    path = tmp_path / "model.onnx"
    export_onnx(model, torch.from_numpy(x[:2]), path, outputs=["scores"])
    with torch.no_grad():
        assert np.array_equal(model(torch.from_numpy(x)).numpy(), expected)  # left as it was
    theirs = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = {"onnxruntime": theirs.run(None, {"x": x})[0]}
    for provider in ("cpu", "bitnet"):
        session = ronn.Session(path, providers=[provider])
        found[provider] = session.run(x)["scores"]
        rows = session.placement().rows
        if provider == "bitnet":
            products = [row.op for row in rows if row.op in ("ronn.bitnet::BitLinear", "ronn.bitnet::SignLinear")]
            assert len(products) == 1
            assert {row.provider for row in rows} == {"bitnet"}
    largest = np.abs(expected).max()
    for name, scores in found.items():
        off = np.abs(scores - expected).max(axis=1) / largest
        # Sums in another order may round one activation of a row to the next step, never those of many rows.
        assert np.median(off) < 1e-5 and (off > 1e-3).mean() < 0.03, name
        assert (scores.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.998, name


def test_quantising_an_export_makes_it_small_and_changes_nothing(tmp_path):
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
    assert convert(model) == ["2"]
    export_onnx(model, torch.zeros(2, 64), tmp_path / "large.onnx")
    settings = Settings("1.58", method="nearest", edge_bits="float")
    quantize(tmp_path / "large.onnx", settings=settings).save(tmp_path / "small.onnx")
    x = normal(20, 64)
    large, small = (ronn.Session(tmp_path / f"{n}.onnx", providers=["bitnet"]) for n in ("large", "small"))
    np.testing.assert_allclose(small.run(x)["y"], large.run(x)["y"], rtol=1e-4, atol=1e-5)
    sizes = [(tmp_path / f"{n}.onnx").stat().st_size for n in ("large", "small")]
    assert sizes[0] - sizes[1] > 4 * 64 * 256 * 0.9
