"""Times convolutions on this machine beside ONNX Runtime: ``python -m ronn_codegen.bench_conv [FILE.json]``.

One thread. Kernels and peer run in bursts taken in turn; the best time of all bursts counts, which is what a machine
gives that does nothing else. The kernels work on blocked operands, as they do inside a model; ONNX Runtime runs a model
of one Conv, whose input and output it may have to reorder. GFLOP/s are those of the definition: Winograd's algorithm
can be above the peak.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit

from ronn_codegen.native.library import Kernel, library, pack
from ronn_codegen.simd import tile as t
from ronn_codegen.simd.target import host
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.conv_plan import ConvPlan, ConvShape, pack_bias, pack_weights, pixels_of
from ronn_codegen.templates.winograd_plan import WinogradPlan, pack_winograd, winograd

_CONV, _DEPTHWISE = "ronn_codegen.templates.conv", "ronn_codegen.templates.depthwise"
_BURST = 0.05  # seconds
_BURSTS = 7

Run = Callable[[], object]


def _layer(
    c: int, size: int, k: int, taps: int, stride: int = 1, *, group: int = 1, pad: int | None = None,
    kernel: tuple[int, int] | None = None,
) -> ConvShape:  # fmt: skip
    r, s = (taps, taps) if kernel is None else kernel
    top, left = (r // 2, s // 2) if pad is None else (pad, pad)
    return ConvShape(
        1, c, k, (1, size, size), (1, r, s), (1, stride, stride), (0, top, left, 0, top, left), group=group
    )


LAYERS: dict[str, list[ConvShape]] = {
    "ResNet-50": [
        _layer(3, 224, 64, 7, 2), _layer(64, 56, 64, 1), _layer(64, 56, 64, 3), _layer(64, 56, 256, 1),
        _layer(256, 56, 64, 1), _layer(256, 56, 512, 1, 2), _layer(256, 56, 128, 1), _layer(128, 56, 128, 3, 2),
        _layer(128, 28, 512, 1), _layer(512, 28, 128, 1), _layer(128, 28, 128, 3), _layer(512, 28, 1024, 1, 2),
        _layer(512, 28, 256, 1), _layer(256, 28, 256, 3, 2), _layer(256, 14, 1024, 1), _layer(1024, 14, 256, 1),
        _layer(256, 14, 256, 3), _layer(1024, 14, 2048, 1, 2), _layer(1024, 14, 512, 1), _layer(512, 14, 512, 3, 2),
        _layer(512, 7, 2048, 1), _layer(2048, 7, 512, 1), _layer(512, 7, 512, 3),
    ],
    "mobile": [
        _layer(3, 224, 32, 3, 2), _layer(16, 112, 96, 1), _layer(96, 56, 24, 1), _layer(144, 28, 32, 1),
        _layer(960, 7, 160, 1), _layer(32, 112, 32, 3, group=32), _layer(96, 112, 96, 3, 2, group=96),
        _layer(144, 56, 144, 3, group=144), _layer(384, 14, 384, 3, group=384), _layer(960, 7, 960, 3, group=960),
        _layer(672, 14, 672, 5, group=672), _layer(240, 28, 240, 5, 2, group=240), _layer(96, 56, 96, 7, group=96),
    ],
    "other": [
        _layer(16, 55, 64, 3), _layer(64, 13, 256, 3), _layer(3, 224, 64, 11, 4, pad=2), _layer(48, 35, 64, 5),
        _layer(128, 17, 128, 1, kernel=(1, 7)), _layer(128, 17, 128, 1, kernel=(7, 1)), _layer(32, 208, 64, 3, 2),
        _layer(128, 52, 128, 3), _layer(128, 56, 128, 3, group=32), _layer(240, 28, 240, 1, group=3),
    ],
}  # fmt: skip


def _aligned(values: np.ndarray) -> np.ndarray:
    """A copy that starts on a cache line."""
    room = np.empty(values.size + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    out = room[start : start + values.size].reshape(values.shape)
    out[...] = values
    return out


def _bound(kernel: Kernel, *arguments: Any) -> Run:
    """The kernel with its argument block made once."""
    words = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    block = pack(kernel.signature, words)
    entry = kernel.entry
    return lambda: (entry(block.ctypes.data, 0, 1), arguments)


def kernel_run(plan: ConvPlan, w: np.ndarray) -> tuple[str, Run]:
    """The algorithm that a model would use, and a run of it."""
    kernels = library()
    shape = plan.shape
    rng = np.random.default_rng(0)
    channels = shape.c if plan.plain else plan.channel_blocks * plan.lanes
    x = _aligned(rng.standard_normal(channels * shape.n * shape.size[1] * shape.size[2]).astype(np.float32))
    y = _aligned(np.zeros(shape.n * plan.out_blocks * shape.out[1] * shape.out[2] * plan.lanes, np.float32))
    bias = pack_bias(plan, None)
    tiles = winograd(plan)
    if tiles is not None:
        return "winograd", _winograd_run(tiles, x, y, bias, w)
    packed = _aligned(pack_weights(plan, w))
    if plan.strip_kind is not None:
        kernel = kernels.kernel(_DEPTHWISE, "depthwise_f32")
        return "strips", _bound(kernel, plan.words, plan.strip_kind, x, packed, bias, 0, y, 0, 0, 0.0, 0.0)
    return "direct", _bound(kernels.kernel(_CONV, "conv_f32"), plan.words, x, packed, bias, 0, y, 0, 0, 0.0, 0.0)


def _winograd_run(plan: WinogradPlan, x: np.ndarray, y: np.ndarray, bias: np.ndarray, w: np.ndarray) -> Run:
    kernels = library()
    packed, zero = _aligned(pack_winograd(plan, w)), np.zeros(2 * plan.lanes, np.float32)
    parts = 1 if plan.fused else plan.shape.n * plan.blocks
    v, m = (_aligned(np.zeros(size, np.float32)) for size in (parts * plan.input_floats, plan.product_floats))
    back = _bound(kernels.kernel(_CONV, "winograd_f32"), plan.words, x, packed, bias, zero, 0, y, v, m, 0, 0, 0.0, 0.0)
    if plan.fused:
        return back
    first = _bound(kernels.kernel(_CONV, "winograd_input_f32"), plan.words, x, v)
    return lambda: (first(), back())


def peer_run(shape: ConvShape, w: np.ndarray) -> Run | None:
    """ONNX Runtime on a model of one Conv; None where it is not installed."""
    try:
        import onnxruntime
        from onnx import helper, numpy_helper
    except ImportError:
        return None
    top, left, bottom, right = (shape.pads[i] for i in (1, 2, 4, 5))
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], pads=[top, left, bottom, right], strides=list(shape.strides[1:]), group=shape.group
    )
    x = np.random.default_rng(0).standard_normal((shape.n, shape.c, *shape.size[1:])).astype(np.float32)
    graph = helper.make_graph(
        [node], "conv", [helper.make_tensor_value_info("x", 1, x.shape)],
        [helper.make_tensor_value_info("y", 1, None)], [numpy_helper.from_array(w[:, :, 0], "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    out = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty((shape.n, shape.k, *shape.out[1:]), np.float32))
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("y", out)
    return lambda: session.run_with_iobinding(binding)


def seconds(runs: dict[str, Run]) -> dict[str, float]:
    """The best time of one run of each."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(_BURSTS):
        for name, run in runs.items():
            run()
            started = time.perf_counter()
            while time.perf_counter() - started < _BURST:
                before = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - before)
    return best


def peak() -> float:
    """GFLOP/s of multiply-adds on registers."""
    lanes = host().lanes(32)
    vec, sums = Vec("f32", lanes), 12

    def emit(b: Any, count: Any, out: Any) -> None:
        factor, place = t.load(b, vec, t.pointer(b, out)), t.pointer(b, out)
        start = [ir.Constant(vec.llvm, [float(i)] * lanes) for i in range(sums)]
        found = t.loop(b, count, start, lambda _, carried: [t.multiply_add(b, vec, v, factor, factor) for v in carried])
        total = found[0]
        for value in found[1:]:
            total = b.fadd(total, value)
        t.store(b, vec, total, place)

    multiply = t.emitted("peak", "i64 i64", emit)
    run = njit(lambda count, out: multiply(count, out))
    room, count = np.zeros(lanes, np.float32), 1_000_000
    found = seconds({"peak": lambda: run(count, room.ctypes.data)})
    return 2.0 * lanes * sums * count / found["peak"] * 1e-9


def measure(shape: ConvShape) -> dict[str, Any]:
    target = library().machine.target
    plan = ConvPlan(shape, target.lanes(32), pixels_of(target), plain=shape.group == 1 and shape.c <= 4)
    rng = np.random.default_rng(0)
    w = rng.standard_normal((shape.k, shape.c // shape.group, *shape.kernel)).astype(np.float32)
    algorithm, run = kernel_run(plan, w)
    runs = {"kernel": run}
    peer = peer_run(shape, w)
    if peer is not None:
        runs["onnxruntime"] = peer
    found = seconds(runs)
    _, r, s = shape.kernel
    group = f", {shape.group} groups" if shape.group > 1 else ""
    return {
        "layer": f"{shape.c}x{shape.size[1]}x{shape.size[2]} -> {shape.k}, {r}x{s}/{shape.strides[2]}{group}",
        "algorithm": algorithm,
        "microseconds": {name: round(t * 1e6, 1) for name, t in found.items()},
        "gflops": {name: round(shape.flops / t * 1e-9, 1) for name, t in found.items()},
    }


def main(arguments: list[str]) -> None:
    ceiling = peak()
    rows = []
    for family, layers in LAYERS.items():
        for shape in layers:
            row = {"family": family, **measure(shape)}
            rows.append(row)
            figures = "  ".join(f"{name} {value:6.1f}" for name, value in row["gflops"].items())
            share = row["gflops"]["kernel"] / ceiling
            sys.stdout.write(f"{family:9} {row['layer']:38} {row['algorithm']:8} {figures}  GFLOP/s  {share:4.0%}\n")
    ceiling = max(ceiling, peak())
    sys.stdout.write(f"peak {ceiling:.1f} GFLOP/s\n")
    if arguments:
        target = asdict(library().machine.target)
        result = {
            "machine": platform.machine(),
            "target": target,
            "threads": 1,
            "peak": round(ceiling, 1),
            "rows": rows,
        }
        Path(arguments[0]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
