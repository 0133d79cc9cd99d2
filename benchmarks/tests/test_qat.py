"""The trained examples of few bits: their data and their models, without training."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from benchmarks.qat import mnist, model_path, text  # noqa: E402
from benchmarks.qat.__main__ import export, kept, outputs  # noqa: E402
from benchmarks.zoo.cache import ZooError  # noqa: E402


def test_sources_are_cut_into_windows_and_what_follows():
    train, test = text.read_sources()
    assert len(train) > 1e6 and len(test) > 1e5
    x, labels = text.test_windows(test)
    assert x.shape == labels.shape == (text.WINDOWS, text.CONTEXT)
    np.testing.assert_array_equal(x[:, 1:], labels[:, :-1])
    assert bytes(test).find(bytes(x[3].astype(np.uint8))) >= 0
    first, again = (next(text.batches(5, train)) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[0][:, 1:], first[1][:, :-1])


def test_bits_of_even_chances_are_eight():
    labels = np.arange(12).reshape(3, 4)
    assert text.bits_per_byte(np.full((3, 4, 256), 5.0, np.float32), labels) == pytest.approx(8)
    sure = np.where(np.arange(256) == labels[..., None], 1000.0, 0.0)
    assert text.bits_per_byte(sure, labels) == pytest.approx(0)


def test_bytes_to_come_are_not_seen():
    torch.manual_seed(0)
    model = text.Transformer().eval()
    assert sum(p.numel() for p in model.parameters()) == 826_112
    x = torch.randint(0, 256, (2, 40))
    other = x.clone()
    other[:, 25:] = 7
    with torch.no_grad():
        a, b = model(x), model(other)
    assert torch.equal(a[:, :25], b[:, :25]) and not torch.equal(a[:, 25:], b[:, 25:])


def test_few_bits_in_each_block_and_between_the_edges():
    start = text.Transformer()
    bits = text.with_bits(start, "ternary")
    converted = [layer for layer in bits.modules() if hasattr(layer, "quantised_weight")]
    assert len(converted) == 4 * text.LAYERS
    assert not any(hasattr(layer, "quantised_weight") for layer in start.modules())
    for variant, (weight, activations) in mnist.VARIANTS.items():
        layers = dict(mnist.with_bits(mnist.network(), variant).named_children())
        found = {n: (m.bits, m.activations) for n, m in layers.items() if hasattr(m, "quantised_weight")}
        assert found == dict.fromkeys(("conv2", "fc1"), (weight, activations))


def test_models_are_kept_and_exported(tmp_path, monkeypatch):
    monkeypatch.setenv("RONN_ZOO_CACHE", str(tmp_path))
    with pytest.raises(ZooError, match="nox -s training"):
        model_path("mnist-float")
    torch.manual_seed(0)
    trained, seconds = kept("mnist-float", mnist.network(), lambda: mnist.network().eval(), again=False)
    found, same = kept("mnist-float", mnist.network(), mnist.train_float, again=False)
    assert same == seconds
    x = torch.rand(6, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(found(x), trained(x))
    assert export("mnist-float", found, x[:2]) == model_path("mnist-float")
    scores, facts = outputs(model_path("mnist-float"), x.numpy())
    assert facts["few_bits"] == 0 and set(scores) == {"onnxruntime", "cpu", "bitnet"}
    with torch.no_grad():
        np.testing.assert_allclose(scores["bitnet"], found(x).numpy(), rtol=1e-3, atol=1e-4)
    nodes = [node.op_type for node in onnx.load(model_path("mnist-float")).graph.node]
    assert nodes.count("BatchNormalization") == 3  # for quantisers to re-estimate
