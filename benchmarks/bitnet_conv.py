"""Convolutions with weights of one and two bits against float32, RONN's and onnxruntime's, end to end in sessions:
`python -m benchmarks.bitnet_conv [--seconds S]`, one thread.

A contestant runs a chain of convolutions with a Relu behind each; its time is that of one, the quantisation of
activations inside. Contestants take turns. Every answer is first held against float32's. What the rule of the pass
``conv-bits`` expects (``ronn_provider_bitnet.passes.conv_cost``) is printed beside what is measured: its rates are
those of this benchmark.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from benchmarks.bitnet import ort_run
from ronn.benchmark.timing import in_turn, single

LAYERS = 4
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


def contestants(case: Case, kinds: Sequence[str], check: bool = True) -> dict[str, Run]:
    x = np.random.default_rng(1).standard_normal((case.images, case.channels, case.size, case.size)).astype(np.float32)
    found: dict[str, Run] = {"onnxruntime": ort_run(chain(case, "float32"), x)}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case")
    parser.add_argument("--only", default="", help="cases whose name has this")
    options = parser.parse_args()
    print("microseconds of one convolution (the fastest run), and RONN's float32 over that")
    for case in CASES:
        if options.only not in case.name:
            continue
        taken = in_turn({k: single(run) for k, run in contestants(case, KINDS).items()}, options.seconds)
        best = {name: min(t.times) / LAYERS * 1e6 for name, t in taken.items()}
        cells = [f"{name} {t:.0f} ({best['float32'] / t:.2f} x)" for name, t in best.items()]
        print(f"{case.name}: {', '.join(cells)}")


if __name__ == "__main__":
    main()
