"""GEMM on OpenCL devices: RONN's kernels beside clBLAST on the same device.

    python -m benchmarks.npu.gemm [--quick] [--write]

Both take float32 matrices that lie on the device, as they are in memory. They are timed in bursts taken in turn. Of
clBLAST the best of its own parameters and of a set for processors is taken, by a trial at 1024 cubed; of RONN what a
MatMul node is lowered to, once with a right operand that is computed (it is packed within the time) and once with a
constant one (it was packed before). clBLAST's other kernel, for small products, is as it comes. The peak is measured
too: multiplications and additions of registers alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyopencl as cl
from onnx import TensorProto, helper, numpy_helper

from benchmarks.machine import describe
from benchmarks.npu import clblast, results
from ronn.frontend.onnx import load
from ronn.plan.segment import address
from ronn.provider.native import At, Scratch
from ronn_codegen.clike.library import Kernels
from ronn_codegen.clike.table import CLIKE
from ronn_codegen.lowering import Context, Lowering, lower_node
from ronn_provider_npu.device import held_to, usual_profile
from ronn_provider_npu.launcher import target_of

SIZES = ((256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (1, 1024, 1024), (77, 999, 513), (2048, 64, 256))
BURST_S, PAUSE_S, WARM = 0.1, 0.08, 2
Run = Callable[[], None]


class Device:
    """A device, its queue, and what kernels for it are made for."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)
        profile = usual_profile(bool(device.type & cl.device_type.CPU))
        self.target = held_to(target_of(device), profile)

    @property
    def name(self) -> str:
        return f"{self.device.name}, {self.device.platform.version}"

    def memory(self, given: np.ndarray | int) -> Any:
        """Memory with the bytes of an array, or of a size."""
        flags = cl.mem_flags.READ_WRITE
        if isinstance(given, int):
            return cl.Buffer(self.context, flags, max(given, 64))
        return cl.Buffer(self.context, flags | cl.mem_flags.COPY_HOST_PTR, hostbuf=given)

    def compile(self, text: str) -> Any:
        return cl.Program(self.context, self.target.dialect.prelude(doubles=self.target.doubles) + text).build()


def product(on: Device, a: np.ndarray, b: np.ndarray, *, constant: bool) -> tuple[Run, Any]:
    """What a MatMul node is lowered to: enqueues its kernels; and the memory of its result."""
    given = [helper.make_tensor_value_info("a", TensorProto.FLOAT, a.shape)]
    if not constant:
        given.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, b.shape))
    held = [numpy_helper.from_array(b, "b")] if constant else []
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (a.shape[0], b.shape[1]))]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"])], "product", given, made, held)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model = load(proto.SerializeToString())
    lowered = lower_node(next(iter(model.graph)), Context(Kernels(on.target), table=CLIKE))
    places = {"a": on.memory(a), "b": on.memory(b), "y": on.memory(4 * a.shape[0] * b.shape[1])}
    return _bound(on, lowered, places), places["y"]


def _bound(on: Device, lowered: Lowering, places: dict[str, Any]) -> Run:
    scratch = [on.memory(size) for size in lowered.scratch]
    kept = {address(array): on.memory(array) for array in lowered.kept}
    launches = []
    for number, call in enumerate(lowered.pending):
        kernel: Any = call.generated
        entry = f"kernel{number}"
        compiled = cl.Kernel(on.compile(kernel.source(entry, on.target)), entry)
        arguments: list[Any] = []
        for param, word in zip(kernel.params, call.words, strict=True):
            if not param.is_array:
                arguments.append(np.int64(word))
            elif isinstance(word, At):
                arguments += [places[word.value.name], np.int64(word.offset)]
            elif isinstance(word, Scratch):
                arguments += [scratch[word.index], np.int64(word.offset)]
            else:
                arguments += [kept[word] if word else None, np.int64(0)]
        compiled.set_args(*arguments)
        sizes = {p.name: w for p, w in zip(kernel.params, call.words, strict=True) if not p.is_array}
        grid = kernel.grid(sizes, on.target)
        whole = tuple(g * n for g, n in zip(grid.groups, grid.local, strict=True))
        launches.append((compiled, whole, grid.local, arguments))  # kernels do not keep what they are given

    def run() -> None:
        for compiled, whole, local, _ in launches:
            cl.enqueue_nd_range_kernel(on.queue, compiled, whole, local)

    return run


def peak(on: Device) -> float:
    """Operations a second of a kernel that multiplies and adds in registers, on all units at once."""
    chains, steps = 12, 1 << 20
    body = "".join(f"        s{i} = s{i} * x + y;\n" for i in range(chains))
    total = " + ".join(f"s{i}" for i in range(chains))
    declared = "".join(f"    f32x8 s{i} = SPLAT_f32x8({i} + start);\n" for i in range(chains))
    text = (
        "KERNEL void peak(GLOBAL f32 *out, f32 start, i64 steps)\n{\n"
        "    const f32x8 x = SPLAT_f32x8(0.5f + start), y = SPLAT_f32x8(start);\n"
        f"{declared}    for (i64 i = 0; i < steps; i++) {{\n{body}    }}\n"
        f"    STORE_f32x8(out + GLOBAL_ID(0) * 8, {total});\n}}\n"
    )
    units = 4 * on.target.compute_units
    kernel = cl.Kernel(on.compile(text), "peak")
    out = on.memory(32 * units)
    kernel.set_args(out, np.float32(0.001), np.int64(steps))

    def run() -> None:
        cl.enqueue_nd_range_kernel(on.queue, kernel, (units,), (1,))

    least = min(_burst(on, run) for _ in range(5))
    out.release()
    return 2 * 8 * chains * steps * units / least


def _burst(on: Device, run: Run) -> float:
    """Seconds of a run: the median of a burst."""
    time.sleep(PAUSE_S)
    for _ in range(WARM):
        run()
        on.queue.finish()
    taken: list[float] = []
    end = time.perf_counter() + BURST_S
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        on.queue.finish()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def in_turns(on: Device, contestants: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of a run of each, burst by burst, taken in turn."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            found[name].append(_burst(on, run))
    return found


class Peer:
    """clBLAST on a device, at its best parameters."""

    def __init__(self, on: Device) -> None:
        self.on, self.library = on, clblast.library()
        self.best: dict[str, int] | None = None

    def run(self, a: np.ndarray, b: np.ndarray) -> tuple[Run, Any]:
        """Enqueues a product, and the memory of its result."""
        (m, k), n = a.shape, b.shape[1]
        of_a, of_b, of_y = self.on.memory(a), self.on.memory(b), self.on.memory(4 * m * n)
        return lambda: clblast.sgemm(self.library, self.on.queue, m, n, k, of_a, of_b, of_y), of_y

    def tune(self, size: int, most: int | None) -> float:
        """Tries parameters at ``size`` cubed and keeps the best; gives the seconds of a run with them."""
        a, b = matrices(size, size, size)
        run, place = self.run(a, b)
        want, least = a @ b, _burst(self.on, run)
        for parameters in [*clblast.parameters()][:most]:
            if not clblast.override(self.library, self.on.device, "Xgemm", parameters):
                continue
            try:
                seconds = _burst(self.on, run)
            except (RuntimeError, cl.Error):
                continue
            if seconds < least and close(self.on, place, want):
                least, self.best = seconds, parameters
        if self.best is not None:
            clblast.override(self.library, self.on.device, "Xgemm", self.best)
        return least


def matrices(m: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)


def close(on: Device, place: Any, want: np.ndarray) -> bool:
    """Whether the result is right."""
    got = np.empty_like(want)
    cl.enqueue_copy(on.queue, got, place)
    return bool(np.allclose(got, want, rtol=1e-3, atol=1e-2))


def measure(on: Device, sizes: Sequence[tuple[int, int, int]], rounds: int, most: int | None) -> dict[str, Any]:
    """All figures of a device; prints them as they come."""
    top = peak(on)
    print(f"\n{on.name}\n  peak {top / 1e9:.0f} GFLOP/s")
    found: dict[str, Any] = {"device": on.name, "peak_gflops": round(top / 1e9, 1), "sizes": {}}
    peer = None
    try:
        peer = Peer(on)
        peer.tune(1024, most)
        found["clblast"] = "its own parameters" if peer.best is None else peer.best
        print(f"  clBLAST at its best with {found['clblast']}")
    except clblast.Absent as e:
        found["clblast"] = f"absent: {e}"
        print(f"  clBLAST is absent: {e}")
    print("      m     n     k      RONN  constant   clBLAST  of clBLAST  of peak   (GFLOP/s)")
    for m, n, k in sizes:
        a, b = matrices(m, n, k)
        made = {"ronn": product(on, a, b, constant=False), "packed": product(on, a, b, constant=True)}
        if peer is not None:
            made["clblast"] = peer.run(a, b)
        timed = in_turns(on, {name: run for name, (run, _) in made.items()}, rounds)
        for name, (_, place) in made.items():
            if not close(on, place, a @ b):
                raise SystemExit(f"{name} is wrong at {m} x {n} x {k}")
        seconds = {name: statistics.median(t) for name, t in timed.items()}
        rate = {name: 2 * m * n * k / s / 1e9 for name, s in seconds.items()}
        ratio = None
        if peer is not None:
            pairs = zip(timed["clblast"], timed["ronn"], strict=True)
            ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        found["sizes"][f"{m}x{n}x{k}"] = {
            "seconds": seconds, "gflops": {n: round(r, 1) for n, r in rate.items()}, "of_clblast": ratio,
            "of_peak": rate["ronn"] * 1e9 / top,
        }  # fmt: skip
        theirs = f"{rate['clblast']:9.1f} {ratio:10.2f}x" if ratio is not None else f"{'-':>9} {'-':>11}"
        share = 100 * rate["ronn"] * 1e9 / top
        print(f"  {m:5} {n:5} {k:5} {rate['ronn']:9.1f} {rate['packed']:9.1f} {theirs} {share:7.0f}%")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, few parameters of the peer")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {results.PATH.name}")
    given = parser.parse_args()
    devices = [Device(d) for p in cl.get_platforms() for d in p.get_devices()]
    rounds, most = (2, 4) if given.quick else (7, None)
    found = [measure(on, SIZES, rounds, most) for on in devices]
    if given.write:
        results.update("gemm", {"machine": describe(), "devices": found})


if __name__ == "__main__":
    main()
