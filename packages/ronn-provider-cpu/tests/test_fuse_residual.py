"""fuse-residual: additions and activations go into convolutions on blocks."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from pass_support import Applied, apply, graph_of

import ronn
from ronn_provider_cpu.passes.block_layout import block_layout_of
from ronn_provider_cpu.passes.fuse_residual import fuse_residual

X = "%x: f32[2,16,6,7]"
WEIGHTS = "%w: f32[11,16,1,1] = const ?\n%v: f32[11,11,3,3] = const ?\n%u: f32[11,16,3,3] = const ?\n"
A = "%a = Conv(%x, %w)\n"
B = "%b = Conv(%a, %v) {pads=[1, 1, 1, 1]}\n"
SHORTCUT = "%c = Conv(%x, %u) {pads=[1, 1, 1, 1]}\n"


def run(body: str, outputs: str = "%y") -> Applied:
    return apply([block_layout_of(8), fuse_residual], graph_of(X, WEIGHTS + body, outputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("add", ["Add(%a, %b)", "Add(%b, %a)", "Sum(%b, %a)"])
@pytest.mark.parametrize(
    ("after", "activation"),
    [
        ("%y = Relu(%s)", "Relu"),
        ("%g = Sigmoid(%s)\n%y = Mul(%s, %g)", ""),
        ("%y = Clip:6(%s) {min=0.0, max=6.0}", "Clip"),
    ],
)
def test_addition_and_activation(add: str, after: str, activation: str) -> None:
    done = run(f"{A}{B}%s = {add}\n{after}\n")
    assert done.ops[:3] == ["Block", "BlockedConv", "BlockedConv"]
    node = done.nodes("BlockedConv")[1]
    assert node.inputs[3] is done.nodes("BlockedConv")[0].output and node.inputs[2] is None
    assert node.attributes.get("activation", "") == activation
    assert "Add" not in done.ops and "Sum" not in done.ops


def test_of_two_convolutions_the_later_one_adds() -> None:
    for order in (A + B + SHORTCUT, A + SHORTCUT + B, SHORTCUT + A + B):
        done = run(f"{order}%y = Add(%b, %c)\n")
        convs = done.nodes("BlockedConv")
        assert done.ops == ["Block", *["BlockedConv"] * 3, "Unblock"]
        assert convs[2].inputs[3] in (convs[0].output, convs[1].output)


def test_addition_behind_the_activation() -> None:
    body = "%a = Conv(%x, %w)\n%p = Conv(%a, %v) {pads=[1, 1, 1, 1]}\n%b = Relu(%p)\n%y = Add(%a, %b)\n"
    done = run(body)
    node = done.nodes("BlockedConv")[1]
    assert node.attributes["activation"] == "Relu" and node.attributes["residual_last"] == 1
    followed = run(body.replace("%y = Add(%a, %b)", "%s = Add(%a, %b)\n%y = Tanh(%s)"))
    assert "Tanh" in followed.ops


def test_a_chain_of_blocks() -> None:
    body = A
    last = "%a"
    for i in range(4):
        body += f"%b{i} = Conv({last}, %v) {{pads=[1, 1, 1, 1]}}\n%s{i} = Add({last}, %b{i})\n%r{i} = Relu(%s{i})\n"
        last = f"%r{i}"
    done = run(body + f"%y = Neg({last})\n")
    assert done.ops == ["Block", *["BlockedConv"] * 5, "Neg", "Unblock"]


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (f"{A}{B}%y = Add(%b, %b)\n", "%y"),
        (f"{A}{B}%y = Add(%a, %b)\n", "%y, %b"),
        (f"{A}{B}%y = Add(%a, %b)\n%z = Neg(%b)\n", "%y, %z"),
        (f"{A}{B}%g = GlobalAveragePool(%a)\n%y = Add(%b, %g)\n", "%y"),
        (f"{A}{B}%k: f32[11,6,7] = const ?\n%y = Add(%b, %k)\n", "%y"),
        (f"{A}{B}%y = Sub(%b, %a)\n", "%y"),
    ],
    ids=["with itself", "output", "other user", "one pixel", "constant", "difference"],
)
def test_stays(body: str, outputs: str) -> None:
    done = run(body, outputs)
    assert all(n.input(3) is None for n in done.nodes("BlockedConv")[1:])


@pytest.mark.parametrize("own", ["", ", %d"])
def test_constants_per_channel_are_biases(own: str) -> None:
    body = f"%d: f32[11] = const ?\n%k: f32[11,1,1] = const ?\n%w2 = Conv(%x, %w{own})\n%a = Add(%k, %w2)\n"
    body += "%b = Conv(%a, %v)\n%c = Sub(%b, %k)\n%y = Relu(%c)\n"
    done = run(body)
    assert done.ops == ["Block", "BlockedConv", "BlockedConv", "Unblock"]
    other = run(body.replace("Sub(%b, %k)", "Sub(%k, %b)"))
    assert "Sub" in other.ops


@pytest.mark.parametrize("channels", [16, 24])
@pytest.mark.parametrize("after", ["", "Relu", "Sigmoid"])
@pytest.mark.parametrize("before", ["", "Relu", "Softplus"])
def test_natively(channels: int, before: str, after: str) -> None:
    """The residual of a native convolution, which may be what it reads and may be overwritten."""
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.standard_normal((channels, 3, 1, 1)) / 2,
        "v": rng.standard_normal((channels, channels, 3, 3)) / channels,
        "u": rng.standard_normal((channels, channels, 3, 3)) / channels,
    }
    make = helper.make_node
    nodes = [make("Conv", ["x", "w"], ["a"]), make("Conv", ["a", "v"], ["b"], pads=[1] * 4)]
    nodes += [make(before, ["b"], ["c"])] if before else [make("Identity", ["b"], ["c"])]
    nodes += [make("Add", ["c", "a"], ["d"])]
    nodes += [make(after, ["d"], ["e"])] if after else [make("Identity", ["d"], ["e"])]
    nodes += [make("Conv", ["e", "u"], ["f"]), make("Add", ["f", "f"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [2, 3, 9, 40])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = rng.standard_normal((2, 3, 9, 40)).astype(np.float32)
    native = ronn.Session(model, providers=["cpu"])
    wanted = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})]).run(x)["y"]
    np.testing.assert_allclose(native.run(x)["y"], wanted, rtol=1e-4, atol=1e-4)
