"""Convolutions with weights of one and two bits against float32, RONN's and onnxruntime's, end to end in sessions:
`python -m benchmarks.bitnet_conv [--seconds S] [--model FILE.onnx]`, one thread.

A contestant runs a chain of convolutions with a Relu behind each; its time is that of one, the quantisation of
activations inside. Contestants take turns. Every answer is first held against float32's. What the rule of the pass
``conv-bits`` expects (``ronn_provider_bitnet.passes.conv_cost``) is printed beside what is measured: its rates are
those of this benchmark.

With ``--model`` it is a whole model instead, in float32 and with ternary inner layers (``ronn quantize --bits 1.58
--method nearest``: what they answer is of no use, how long they take is), activations of 16 and of 8 bits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from ronn.benchmark.timing import in_turn, single
from ronn_provider_bitnet.kernels.conv_layout import Window
from ronn_provider_bitnet.passes.conv_cost import bit_time, float_time
from ronn_provider_bitnet.quantize import Limits, Settings, quantize
from ronn_provider_cpu.compiling import native_library

LAYERS = 4
SIZE = 320  # of the images of a model that takes any
Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """``images`` of ``channels`` x ``size`` x ``size``; as many filters, in windows of ``taps`` x ``taps``."""

    channels: int
    size: int
    taps: int
    images: int = 1

    @property
    def name(self) -> str:
        return f"{self.images} x {self.channels} x {self.size} x {self.size}, {self.taps} x {self.taps}"


CASES = (
    Case(16, 112, 3), Case(32, 56, 3), Case(64, 56, 1), Case(64, 56, 3), Case(128, 28, 1), Case(128, 28, 3),
    Case(256, 14, 1), Case(256, 14, 3), Case(512, 7, 1), Case(512, 7, 3), Case(64, 28, 5),
)  # fmt: skip
KINDS = ("float32", "ternary, 16 bits", "ternary, 8 bits", "binary, 16 bits", "binary, 8 bits")


def chain(case: Case, kind: str, layers: int = LAYERS) -> bytes:
    """x -> Relu(conv) ...; each kind has the same weights, ternary unless it is binary."""
    r = np.random.default_rng(0)
    nodes, inits, last, shape = [], [], "x", (case.channels, case.channels, case.taps, case.taps)
    if kind.endswith("8 bits"):
        numbers = {"top": 127, "least": 1e-5, "low": -128, "high": 127}
        inits += [nh.from_array(np.asarray(v, np.float32), n) for n, v in numbers.items()]
        inits.append(nh.from_array(np.array([1, 2, 3]), "axes"))
    for i in range(layers):
        w = 2 * r.integers(0, 2, shape) - 1 if kind.startswith("binary") else r.integers(-1, 2, shape)
        scale = np.float32(1.7 / (case.channels * case.taps**2) ** 0.5)
        if kind == "float32":
            weights = w * scale * r.uniform(0.5, 1.5, shape)
        else:
            weights = w * scale
        inits.append(nh.from_array(weights.astype(np.float32), f"w{i}"))
        source = last
        if kind.endswith("8 bits"):
            source = f"q{i}"
            nodes += quantiser(last, source, i)
        pads = [case.taps // 2] * 4
        nodes.append(h.make_node("Conv", [source, f"w{i}"], [f"c{i}"], pads=pads))
        nodes.append(h.make_node("Relu", [f"c{i}"], [f"y{i}"]))
        last = f"y{i}"
    x_shape = [case.images, case.channels, case.size, case.size]
    graph = h.make_graph(
        nodes, "chain", [h.make_tensor_value_info("x", T.FLOAT, x_shape)],
        [h.make_tensor_value_info(last, T.FLOAT, x_shape)], inits,
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9).SerializeToString()


def quantiser(x: str, out: str, i: int) -> list[object]:
    """BitNet's, of whole images."""
    steps = [
        ("Abs", [x], "absolute"), ("ReduceMax", [f"absolute{i}", "axes"], "peak"),
        ("Clip", [f"peak{i}", "least"], "limited"), ("Div", ["top", f"limited{i}"], "step"),
        ("Mul", [x, f"step{i}"], "scaled"), ("Round", [f"scaled{i}"], "rounded"),
        ("Clip", [f"rounded{i}", "low", "high"], "clipped"),
    ]  # fmt: skip
    nodes = [h.make_node(op, ins, [f"{name}{i}"]) for op, ins, name in steps]
    return [*nodes, h.make_node("Div", [f"clipped{i}", f"step{i}"], [out])]


def ort_run(model: bytes, inputs: dict[str, np.ndarray]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def expected(case: Case, kind: str) -> float:
    """What the rule expects of float32's time over that of few bits."""
    kernels = native_library()
    if kernels is None:
        raise SystemExit("native kernels are off: there is nothing to expect")
    target = kernels.machine.target
    pad, n = case.taps // 2, case.channels
    window = Window(
        case.images, n, n, (case.size,) * 2, (case.taps,) * 2, (1, 1), (1, 1), (pad, pad, pad, pad), 1
    )  # fmt: skip
    bits, planes = 1 if kind.startswith("binary") else 2, 1 if kind.endswith("8 bits") else 2
    return float_time(window, target) / bit_time(window, bits, planes, target)


def contestants(case: Case, kinds: Sequence[str], check: bool = True) -> dict[str, Run]:
    x = np.random.default_rng(1).standard_normal((case.images, case.channels, case.size, case.size)).astype(np.float32)
    found: dict[str, Run] = {"onnxruntime": ort_run(chain(case, "float32"), {"x": x})}
    for kind in kinds:
        provider: object = "cpu" if kind == "float32" else ("bitnet", {"convolutions": "small"})
        model = chain(case, kind)
        session = ronn.Session(model, providers=[provider], options={"threads": 1})
        found[kind] = lambda session=session: session.run(x)[0]  # type: ignore[misc]
        if check and kind != "float32":
            expected = ronn.Session(model, providers=["cpu"]).run(x)[0]
            off = float(np.abs(np.asarray(found[kind]()) - expected).max() / np.abs(expected).max())
            if off > (1e-3 if "16" in kind else 0.1):
                raise SystemExit(f"{case.name}, {kind}: off by {off:.2g} of the largest")
    return found


def whole(path: Path, seconds: float) -> None:
    """Times a model and its quantised forms, and says what they keep in memory."""
    with TemporaryDirectory() as folder:
        sessions = {"RONN, float32": ronn.Session(path, providers=["cpu"], options={"threads": 1})}
        inputs = {
            i.name: np.random.default_rng(0).standard_normal(
                [d if isinstance(d, int) else SIZE if axis else 1 for axis, d in enumerate(i.shape)]
            ).astype(np.float32) for i in sessions["RONN, float32"].inputs
        }  # fmt: skip
        theirs = {"onnxruntime, float32": path}
        for bits in (16, 8):
            made = quantize(
                path, data=inputs, settings=Settings("1.58", method="nearest", activations=bits),
                limits=Limits(-1, 0, 1),
            )  # fmt: skip
            file = Path(folder) / f"{bits}.onnx"
            made.save(file)
            sessions[f"RONN, ternary, {bits} bits"] = ronn.Session(file, providers=["bitnet"], options={"threads": 1})
            theirs[f"onnxruntime, the same, {bits} bits"] = file
        runs: dict[str, Run] = {n: (lambda s=s: s.run(inputs)) for n, s in sessions.items()}  # type: ignore[misc]
        runs |= {n: ort_run(file.read_bytes(), inputs) for n, file in theirs.items()}
        taken = in_turn({name: single(run) for name, run in runs.items()}, seconds)
    best = {name: min(t.times) * 1e3 for name, t in taken.items()}
    print("| what | ms | against RONN's float32 | packed weights, MB | in all, MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, t in best.items():
        memory = sessions[name].memory() if name in sessions else None
        sizes = "| | |" if memory is None else f"| {memory.packed / 1e6:.1f} | {memory.total / 1e6:.1f} |"
        print(f"| {name} | {t:.1f} | {best['RONN, float32'] / t:.2f} x {sizes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case")
    parser.add_argument("--only", default="", help="cases whose name has this")
    parser.add_argument("--model", type=Path, help="a model of convolutions, with float32 inputs")
    options = parser.parse_args()
    if options.model is not None:
        whole(options.model, max(options.seconds, 20))
        return
    print("us of one convolution (the fastest run); RONN's float32 over that, and what the rule expects of it")
    for case in CASES:
        if options.only not in case.name:
            continue
        taken = in_turn({k: single(run) for k, run in contestants(case, KINDS).items()}, options.seconds)
        best = {name: min(t.times) / LAYERS * 1e6 for name, t in taken.items()}
        cells = [
            f"{name} {t:.0f} ({best['float32'] / t:.2f} x"
            + (f", expected {expected(case, name):.2f})" if name.endswith("bits") else ")")
            for name, t in best.items()
        ]
        print(f"{case.name}: {', '.join(cells)}")


if __name__ == "__main__":
    main()
