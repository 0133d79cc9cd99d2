"""Times the templates on this machine beside NumPy and ONNX Runtime: ``python -m ronn_codegen.bench [FILE.json]``.

One thread each (set OPENBLAS_NUM_THREADS=1 or what your BLAS reads), in turn, medians. ONNX Runtime is timed where it
is installed. The templates are timed on blocked or packed operands, as they will run inside chains of such kernels.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ronn_codegen.native.library import library
from ronn_codegen.simd.target import host
from ronn_codegen.templates import conv as conv_template
from ronn_codegen.templates.conv import ConvShape, block_input, block_weights, blocks_of, conv, conv_arguments
from ronn_codegen.templates.gemm_shape import block_of_steps, last_step, packed_size, tile_of

SIZES = [(1024, 1024, 1024), (128, 768, 768), (64, 384, 1536), (1, 4096, 4096)]
LAYERS = [  # of ResNet-50
    ConvShape(1, 64, 56, 56, 64, 3, 3, pads=(1, 1, 1, 1)),
    ConvShape(1, 128, 28, 28, 128, 3, 3, pads=(1, 1, 1, 1)),
    ConvShape(1, 256, 14, 14, 256, 3, 3, pads=(1, 1, 1, 1)),
    ConvShape(1, 512, 7, 7, 512, 3, 3, pads=(1, 1, 1, 1)),
    ConvShape(1, 256, 56, 56, 64, 1, 1),
    ConvShape(1, 1024, 14, 14, 256, 1, 1),
    ConvShape(1, 3, 224, 224, 64, 7, 7, strides=(2, 2), pads=(3, 3, 3, 3)),
]
ROUNDS = 25

Run = Callable[[], object]


def gflops(flops: int, runs: dict[str, Run]) -> dict[str, float]:
    """Median GFLOP/s of each, run in turn after one uncounted round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: round(flops / statistics.median(times[1:]) * 1e-9, 1) for name, times in seconds.items()}


def product_runs(m: int, n: int, k: int) -> dict[str, Run]:
    kernels = library()
    tile = tile_of(kernels.machine.target)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k)).astype(np.float32)
    b = rng.standard_normal((k, n)).astype(np.float32)
    c, packed = np.empty((m, n), np.float32), np.empty(packed_size(k, n, tile), np.float32)
    pack = kernels.kernel("ronn_codegen.templates.gemm_pack", "pack_f32")
    pack(k, n, 1, b.ctypes.data, n, 1, 0, packed.ctypes.data, 0)
    multiply = kernels.kernel("ronn_codegen.templates.gemm", "gemm_f32")
    sizes = (m, n, k, block_of_steps(m, k, tile), 1, 0)
    places = (packed.ctypes.data, tile.columns, last_step(n, tile), k * tile.columns, 0)

    def template() -> None:
        multiply(*sizes, a.ctypes.data, k, 1, *places, c.ctypes.data, n, 0, 0, 0, 1.0, 1.0, 0, 0.0, 0.0)

    return {"template": template, "numpy": lambda: np.matmul(a, b, out=c)}


def convolution_runs(shape: ConvShape) -> dict[str, Run]:
    tile = conv_template.tile_of(host())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.n, shape.c, shape.h, shape.w)).astype(np.float32)
    w = rng.standard_normal((shape.k, shape.c, shape.r, shape.s)).astype(np.float32)
    kb = blocks_of(shape.k, tile.lanes)
    arrays = [
        block_input(x, shape, tile.lanes),
        block_weights(w, tile.lanes),
        np.zeros(kb * tile.lanes, np.float32),
        np.empty((shape.n, kb, *shape.out, tile.lanes), np.float32),
    ]
    convolve, sizes = conv(tile), conv_arguments(shape, tile)

    def template() -> None:
        convolve(*sizes, *(a.ctypes.data for a in arrays), 0, 1)

    runs: dict[str, Run] = {"template": template}
    peer = _onnxruntime_conv(shape, x, w)
    if peer is not None:
        runs["onnxruntime"] = peer
    return runs


def _onnxruntime_conv(shape: ConvShape, x: np.ndarray, w: np.ndarray) -> Run | None:
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    top, left, bottom, right = shape.pads
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], pads=[top, left, bottom, right], strides=list(shape.strides),
        dilations=list(shape.dilations),
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def main(arguments: list[str]) -> None:
    rows: list[dict[str, Any]] = []
    for m, n, k in SIZES:
        found = gflops(2 * m * n * k, product_runs(m, n, k))
        rows.append({"kernel": "gemm", "size": f"{m} x {n} x {k}", "gflops": found})
    for layer in LAYERS:
        size = f"{layer.c}x{layer.h}x{layer.w} -> {layer.k}, {layer.r}x{layer.s}/{layer.strides[0]}"
        rows.append({"kernel": "conv", "size": size, "gflops": gflops(layer.flops, convolution_runs(layer))})
    for row in rows:
        figures = "  ".join(f"{name} {value:6.1f}" for name, value in row["gflops"].items())
        sys.stdout.write(f"{row['kernel']:5} {row['size']:28} {figures}  GFLOP/s\n")
    if arguments:
        result = {"machine": platform.machine(), "target": asdict(host()), "threads": 1, "rows": rows}
        Path(arguments[0]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
