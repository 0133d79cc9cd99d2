"""block-layout: convolutions chained on blocks, reorderings at the borders only, the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_support import Applied, apply, graph_of

import ronn
from ronn.ir.graph import Graph
from ronn.passes.manager import PassContext
from ronn_provider_cpu.compiling import level
from ronn_provider_cpu.passes.block_layout import block_layout_of

LANES = 8


def run(inputs: str, body: str, outputs: str = "%y", lanes: int = LANES, **options: Any) -> Applied:
    return apply([block_layout_of(lanes)], graph_of(inputs, body, outputs), **options)


def weights(name: str, k: int, c: int, r: int = 3) -> str:
    return f"%{name}: f32[{k},{c},{r},{r}] = const ?\n"


def between(body: str, channels: int = 16, out: int | None = None) -> str:
    """%a, the output of a convolution, then ``body``, which makes %b, which a convolution reads."""
    out = channels if out is None else out
    return (
        weights("w", channels, 5) + weights("v", 7, out, 1) + "%a = Conv(%x, %w) {pads=[1, 1, 1, 1]}\n"
        f"{body}\n%y = Conv(%b, %v)\n"
    )  # fmt: skip


X = "%x: f32[2,5,6,7]"
TO, BACK = "{perm=[0, 3, 1, 2]}", "{perm=[0, 2, 3, 1]}"
CHAIN = ["Block", "BlockedConv", "BlockedConv", "Unblock"]


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("channels", [5, 16])
def test_a_chain_is_reordered_at_its_ends(lanes: int, channels: int) -> None:
    body = weights("w", channels, 5) + weights("v", 9, channels) + "%c: f32[9] = const ?\n"
    body += '%h = Conv(%x, %w) {strides=[2, 1], dilations=[1, 2]}\n%y = Conv(%h, %v, %c) {auto_pad="SAME_LOWER"}\n'
    done = run(X, body, lanes=lanes)
    assert done.ops == CHAIN
    first, second = done.nodes("BlockedConv")
    assert first.attributes["strides"] == [2, 1] and first.attributes["pads"] == [0, 0, 0, 0]
    assert second.attributes["pads"] == [1, 1, 1, 1]
    assert second.attributes["channels"] == channels and second.attributes["out_channels"] == 9
    assert first.output.tensor.shape == (2, -(-channels // lanes), 2, 3, lanes)
    assert len(done.context.log) == 1


def test_few_channels_are_read_where_they_are() -> None:
    body = weights("w", 16, 3) + weights("v", 8, 16) + "%h = Conv(%x, %w)\n%y = Conv(%h, %v)\n"
    done = run("%x: f32[1,3,9,9]", body)
    assert done.ops == ["BlockedConv", "BlockedConv", "Unblock"]
    assert done.nodes("BlockedConv")[0].attributes["plain_input"] == 1


def test_groups_of_channels_are_read_in_blocks() -> None:
    body = weights("w", 4, 1) + weights("v", 8, 4) + weights("u", 8, 4)
    body += "%h = Conv(%x, %w) {group=4}\n%i = Conv(%h, %v)\n%y = Conv(%i, %u) {group=2}\n"
    done = run("%x: f32[1,4,9,9]", body)
    # What the second reads is plain, so the first has nothing to gain.
    assert done.ops == ["Conv", "BlockedConv", "BlockedConv", "Unblock"]


def test_one_convolution_stays() -> None:
    for body in ("%y = Conv(%x, %w)", "%h = Relu(%x)\n%g = Conv(%h, %w)\n%y = Sigmoid(%g)"):
        assert not run(X, weights("w", 16, 5) + body).changed


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("2,5,3,3,3", "%w: f32[8,5,1,1,1] = const ?\n%v: f32[8,8,1,1,1] = const ?\n"),
        ("2,5,1,1", weights("w", 8, 5, 1) + weights("v", 8, 8, 1)),
        ("2,5,1", "%w: f32[8,5,1] = const ?\n%v: f32[8,8,1] = const ?\n"),
    ],
    ids=["3-D", "one pixel", "one pixel in 1-D"],
)
def test_other_convolutions_stay(shape: str, body: str) -> None:
    assert not run(f"%x: f32[{shape}]", body + "%h = Conv(%x, %w)\n%y = Conv(%h, %v)").changed


TRANSPOSED = {
    "twice as large": "{strides=[2, 2]}",
    "cut": "{strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 0]}",
    "to a size": "{strides=[2, 2], output_shape=[12, 13]}",
    "SAME": '{strides=[3, 2], auto_pad="SAME_UPPER"}',
    "dilated": "{dilations=[2, 2], pads=[1, 1, 2, 0]}",
}


@pytest.mark.parametrize("channels", [16, 11])
@pytest.mark.parametrize("how", TRANSPOSED.values(), ids=TRANSPOSED)
def test_transposed_convolutions(how: str, channels: int) -> None:
    body = weights("w", channels, 5) + f"%u: f32[{channels},13,2,2] = const ?\n%c: f32[13] = const ?\n"
    body += weights("v", 7, 13, 1) + f"%a = Conv(%x, %w)\n%b = ConvTranspose(%a, %u, %c) {how}\n%y = Conv(%b, %v)\n"
    done = run(X, body, rtol=1e-4, atol=1e-5)
    assert done.ops == ["Block", "BlockedConv", "BlockedConvTranspose", "BlockedConv", "Unblock"]


def test_groups_of_transposed_convolutions() -> None:
    body = weights("w", 16, 5) + "%u: f32[16,3,2,2] = const ?\n" + weights("v", 7, 12, 1)
    body += "%a = Conv(%x, %w)\n%b = ConvTranspose(%a, %u) {group=4, strides=[2, 2]}\n%y = Conv(%b, %v)\n"
    assert run(X, body, rtol=1e-4, atol=1e-5).ops.count("BlockedConvTranspose") == 1


LINE = {
    "Relu": "%b = Relu(%a)",
    "per channel": "%k: f32[C,1] = const ?\n%m = Mul(%k, %a)\n%b = Add(%m, %a)",
    "MaxPool": "%b = MaxPool(%a) {kernel_shape=[3], strides=[2], pads=[1, 0]}",
    "AveragePool": "%b = AveragePool(%a) {kernel_shape=[2], ceil_mode=1, strides=[3]}",
    "gate": "%g = GlobalAveragePool(%a)\n%s = Tanh(%g)\n%b = Mul(%a, %s)",
    "reduced": "%g = ReduceMax:17(%a) {axes=[-1]}\n%b = Sub(%a, %g)",
    "Pad": "%p: i64[6] = const {0, 0, 2, 0, 0, 1}\n%b = Pad(%a, %p)",
    "end to end": "%c = Neg(%a)\n%b = Concat(%a, %c) {axis=-1}",
    "rows": "%s: i64[1] = const {1}\n%e: i64[1] = const {9}\n%t: i64[1] = const {2}\n%b = Slice(%a, %s, %e, %t)",
    "there and back": "%c = Transpose(%a) {perm=[0, 2, 1]}\n%d = Relu(%c)\n%b = Transpose(%d) {perm=[0, 2, 1]}",
    "as an image": "%z: i64[1] = const {2}\n%c = Unsqueeze(%a, %z)\n%d = Relu(%c)\n%b = Squeeze(%d, %z)",
}  # fmt: skip


@pytest.mark.parametrize("channels", [16, 11])
@pytest.mark.parametrize("name", LINE)
def test_convolutions_in_one_dim(name: str, channels: int) -> None:
    body = f"%w: f32[{channels},5,3] = const ?\n%v: f32[7,{channels},2] = const ?\n"
    body += "%a = Conv(%x, %w) {pads=[2, 1], dilations=[2]}\n"
    body += LINE[name].replace("[C,", f"[{channels},") + '\n%y = Conv(%b, %v) {auto_pad="SAME_UPPER", strides=[2]}\n'
    done = run("%x: f32[2,5,20]", body, rtol=1e-4, atol=1e-5)
    assert done.nodes("BlockedConv")[0].attributes["pads"] == [0, 2, 0, 1]
    assert done.nodes("BlockedConv")[0].attributes["kernel_shape"] == [1, 3]
    big = [n for n in done.graph if n.op in ("Block", "Unblock") and 1 not in n.inputs[0].tensor.shape[3:]]
    assert [n.op for n in big if n.inputs[0].tensor.shape[-1] > 1] == ["Block", "Unblock"], done.graph
    assert done.graph.outputs[0].tensor.rank == 3 and "Transpose" not in done.ops


def test_few_channels_in_one_dim_are_read_where_they_are() -> None:
    body = "%w: f32[16,2,3] = const ?\n%v: f32[8,16,3] = const ?\n%h = Conv(%x, %w)\n%y = Conv(%h, %v)\n"
    assert run("%x: f32[2,2,20]", body).ops == ["BlockedConv", "BlockedConv", "Unblock"]


def test_sequences_with_channels_last() -> None:
    """As Keras writes convolutions in one dim: images of height 1, channels last outside."""
    body = (
        "%z: i64[1] = const {1}\n%q: i64[1] = const {2}\n"
        + "%w: f32[16,6,1,3] = const ?\n%v: f32[8,16,1,3] = const ?\n"
    )
    body += f"%i = Unsqueeze(%x, %z)\n%t = Transpose(%i) {TO}\n%a = Conv(%t, %w)\n%b = Squeeze(%a, %q)\n%c = Relu(%b)\n"
    body += (
        "%k: f32[8,1] = const ?\n%d = Unsqueeze(%c, %q)\n%e = Conv(%d, %v)\n%f = Squeeze(%e, %q)\n%g = Add(%f, %k)\n"
    )
    body += "%y = Transpose(%g) {perm=[0, 2, 1]}\n"
    done = run("%x: f32[2,20,6]", body)
    assert done.ops == ["Unsqueeze", "Block", "BlockedConv", "Relu", "BlockedConv", "Add", "Unblock"]
    assert done.nodes("Unblock")[0].attributes == {"channels": 8, "nhwc": 1, "rank": 3}


def test_pixels_in_a_row() -> None:
    """What goes from images to sequences leaves the blocks as a sequence."""
    body = weights("w", 16, 5) + weights("v", 24, 16) + "%s: i64[3] = const {0, 24, -1}\n"
    body += "%a = Conv(%x, %w)\n%b = Conv(%a, %v)\n%c = Reshape(%b, %s)\n%d = Transpose(%c) {perm=[0, 2, 1]}\n"
    done = run("%x: f32[2,5,9,8]", body + "%y = Softmax(%d) {axis=-1}\n")
    assert done.ops == ["Block", "BlockedConv", "BlockedConv", "Reshape", "Unblock", "Softmax"]
    assert not [
        n
        for n in run("%x: f32[2,5,9,8]", body + "%r: i64[2] = const {2, -1}\n%y = Reshape(%d, %r)").graph
        if n.op == "Transpose"
    ]


def test_computed_weights_and_unknown_sizes_stay() -> None:
    body = weights("v", 8, 8) + "%h = Conv(%x, %w)\n%i = Conv(%h, %w2)\n%y = Conv(%i, %v)\n"
    assert not run(f"{X}, %w: f32[8,5,1,1], %w2: f32[8,8,1,1]", body).changed
    body = weights("w", 8, 5) + weights("v", 8, 8) + "%h = Conv(%x, %w)\n%y = Conv(%h, %v)\n"
    graph = graph_of("%x: f32[N,5,8,8]", body, "%y")
    assert not block_layout_of(LANES)(graph, PassContext(opset_imports={"": 18}))


FOLLOW = {
    "Relu": "%b = Relu(%a)",
    "LeakyRelu": "%b = LeakyRelu(%a) {alpha=0.2}",
    "Clip around 0": "%lo: f32[] = const {0.0}\n%hi: f32[] = const {6.0}\n%b = Clip(%a, %lo, %hi)",
    "old Clip": "%b = Clip:6(%a) {min=-1.0, max=1.0}",
    "Swish as two": "%s = HardSwish(%a)\n%b = Tanh(%s)",
    "scalar": "%k: f32[] = const {2.0}\n%m = Mul(%a, %k)\n%b = Add(%k, %m)",
    "division by a scalar": "%k: f32[1] = const {2.0}\n%b = Div(%a, %k)",
    "power": "%k: f32[] = const {3.0}\n%b = Pow(%a, %k)",
    "per channel": "%k: f32[C,1,1] = const ?\n%m = Mul(%k, %a)\n%n = Sub(%m, %k)\n%b = Max(%n, %k)",
    "slope": "%k: f32[C,1,1] = const ?\n%b = PRelu(%a, %k)",
    "map": "%k: f32[1,1,6,7] = const ?\n%b = Add(%a, %k)",
    "with itself": "%m = Mul(%a, %a)\n%b = Sum(%m, %a, %a)",
    "batch norm": "%k: f32[C] = const ?\n%l: f32[C] = const ?\n%j: f32[C] = const ?\n%v0: f32[C] = const ?\n"
    "%b = BatchNormalization:15(%a, %k, %l, %j, %v0) {epsilon=9.0}",
    "MaxPool": "%b = MaxPool(%a) {kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], ceil_mode=1}",
    "dilated MaxPool": "%b = MaxPool(%a) {kernel_shape=[2, 2], dilations=[2, 3]}",
    "AveragePool": "%b = AveragePool(%a) {kernel_shape=[3, 3], pads=[1, 1, 1, 1]}",
    "AveragePool with padding": "%b = AveragePool(%a) {kernel_shape=[2, 3], pads=[1, 1, 0, 1], count_include_pad=1}",
    "AveragePool SAME": '%b = AveragePool(%a) {kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"}',
    "squeeze and excite": "%g = GlobalAveragePool(%a)\n%s = HardSigmoid(%g)\n%b = Mul(%a, %s)",
    "global max": "%g = GlobalMaxPool(%a)\n%b = Sub(%a, %g)",
    "reduced": "%g = ReduceMean:17(%a) {axes=[-1, 2]}\n%b = Add(%a, %g)",
    "Pad": "%p: i64[8] = const {0, 0, 1, 2, 0, 0, 0, 3}\n%b = Pad(%a, %p)",
    "Pad by reflection": '%p: i64[8] = const {0, 0, 1, 2, 0, 0, 0, 3}\n%b = Pad(%a, %p) {mode="reflect"}',
    "Resize by scales": "%s: f32[4] = const {1.0, 1.0, 2.0, 2.0}\n%b = Resize(%a, _, %s)",
    "Resize to sizes": '%s: i64[4] = const {2, C, 9, 5}\n%b = Resize(%a, _, _, %s) {mode="linear"}',
    "Resize of axes": '%s: f32[2] = const {3.0, 1.5}\n%b = Resize(%a, _, %s) {axes=[3, 2], mode="linear"}',
    "Resize before 13": "%r: f32[0] = const {}\n%s: f32[4] = const {1.0, 1.0, 2.0, 2.0}\n%c = Resize:11(%a, %r, %s)\n"
    "%z: i64[4] = const {2, C, 9, 5}\n%b = Resize:12(%c, %r, %r, %z)",
    "Upsample": "%s: f32[4] = const {1.0, 1.0, 2.0, 3.0}\n%b = Upsample:9(%a, %s)",
    "rows": "%s: i64[1] = const {1}\n%e: i64[1] = const {5}\n%t: i64[1] = const {2}\n%b = Slice(%a, %s, %e, %t)",
}  # fmt: skip


@pytest.mark.parametrize("channels", [16, 11])
@pytest.mark.parametrize("name", FOLLOW)
def test_followers(name: str, channels: int) -> None:
    body = FOLLOW[name].replace("C]", f"{channels}]").replace("[C,", f"[{channels},").replace(" C,", f" {channels},")
    done = run(X, between(body, channels), rtol=1e-4, atol=1e-5)
    assert len(done.nodes("BlockedConv")) == 2, done.graph
    # What goes over all pixels may come out plain and go in again: one pixel, next to no cost.
    big = [n for n in done.graph if n.op in ("Block", "Unblock") and 1 not in n.inputs[0].tensor.shape[-3:]]
    assert [n.op for n in big] == ["Block", "Unblock"], done.graph


@pytest.mark.parametrize(
    "body",
    [
        "%b = Sigmoid(%a)",
        "%b = Softplus(%a)",
        "%lo: f32[] = const {1.0}\n%b = Clip(%a, %lo)",
        "%g = Abs(%a)\n%b = Div(%a, %g)",
        "%k: f32[] = const {2.0}\n%b = Pow(%k, %a)",
        "%k: f32[] = const {2.0}\n%b = Div(%k, %a)",
        "%p: i64[8] = const {0, 0, 1, 2, 0, 0, 0, 3}\n%k: f32[] = const {2.0}\n%b = Pad(%a, %p, %k)",
        "%g = ReduceMean:17(%a) {axes=[1]}\n%b = Add(%a, %g)",
    ],
)
def test_what_makes_zeros_nonzero_needs_whole_blocks(body: str) -> None:
    whole = run(X, between(body, 16))
    assert whole.ops.count("BlockedConv") == 2
    ragged = run(X, between(body, 11))
    assert ragged.ops.count("BlockedConv") == 0


def test_spatial_attention() -> None:
    body = between("%g = ReduceMax:17(%a) {axes=[1]}\n%s = Sigmoid(%g)\n%b = Mul(%s, %a)", 11)
    done = run(X, body)
    assert done.ops.count("BlockedConv") == done.ops.count("Unblock") == 2 and done.ops.count("Block") == 1


PARTS = {
    "Concat": ("%c = Relu(%a)\n%b = Concat(%a, %c) {axis=1}", 16, 32),
    "Concat, ragged end": ("%t: f32[11,16,1,1] = const ?\n%c = Conv(%a, %t)\n%b = Concat(%a, %c) {axis=-3}", 16, 27),
    "Split": ("%s: i64[2] = const {8, 16}\n%c, %d = Split(%a, %s) {axis=1}\n%e = Relu(%c)\n"
              "%b = Concat(%d, %e) {axis=1}", 24, 24),
    "old Split": ("%c, %d = Split:11(%a) {axis=1, split=[16, 5]}\n%e = Relu(%c)\n%b = Concat(%e, %d) {axis=1}", 21, 21),
    "Slice": ("%s: i64[1] = const {8}\n%e: i64[1] = const {99}\n%t: i64[1] = const {1}\n%b = Slice(%a, %s, %e, %t)",
              21, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_parts(name: str) -> None:
    body, channels, out = PARTS[name]
    done = run(X, between(body, channels, out))
    assert done.ops.count("Block") == done.ops.count("Unblock") == 1, done.graph
    assert done.ops.count("BlockedConv") >= 2


RAGGED = {
    "Concat": ("%c = Relu(%a)\n%d = Neg(%a)\n%b = Concat(%a, %c, %d) {axis=1}", 11, 33),
    "Concat of much": ("%c = Relu(%a)\n%b = Concat(%a, %c) {axis=1}", 21, 42),
    "Split": ("%s: i64[3] = const {4, 11, 1}\n%c, %d, %e = Split(%a, %s) {axis=1}\n"
              "%b = Concat(%d, %c, %e) {axis=1}", 16, 16),
    "Slice": ("%s: i64[1] = const {3}\n%e: i64[1] = const {15}\n%t: i64[1] = const {1}\n"
              "%b = Slice(%a, %s, %e, %t)", 21, 12),
    "Slice of all": ("%s: i64[2] = const {3, 1}\n%e: i64[2] = const {15, 5}\n%t: i64[2] = const {1, 2}\n"
                     "%b = Slice(%a, %s, %e, %t)", 21, 12),
}  # fmt: skip


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("name", RAGGED)
def test_parts_that_are_no_whole_blocks(name: str, lanes: int) -> None:
    body, channels, out = RAGGED[name]
    done = run(X, between(body, channels, out), lanes=lanes)
    assert done.ops.count("Block") == done.ops.count("Unblock") == 1 and "Regroup" in done.ops, done.graph
    assert done.ops.count("BlockedConv") == 2


def test_values_that_others_need_are_plain_for_them() -> None:
    body = weights("w", 16, 5) + weights("v", 16, 16) + weights("u", 8, 16)
    body += "%a = Conv(%x, %w)\n%b = Conv(%a, %v) {pads=[1, 1, 1, 1]}\n%s = Softmax(%b) {axis=1}\n%y = Conv(%b, %u)\n"
    done = run("%x: f32[1,5,9,9]", body, "%y, %a, %s")
    assert done.ops.count("BlockedConv") == 3 and done.ops.count("Unblock") == 3 and done.ops.count("Block") == 1
    assert [v.name for v in done.graph.outputs] == ["y", "a", "s"]


def test_channels_last_outside() -> None:
    body = weights("w", 16, 6) + weights("v", 9, 16)
    body += f"%t = Transpose(%x) {TO}\n%a = Conv(%t, %w)\n%b = Conv(%a, %v)\n%y = Transpose(%b) {BACK}\n"
    done = run("%x: f32[2,9,8,6]", body)
    assert done.ops == CHAIN
    assert all(n.attributes["nhwc"] == 1 for n in done.graph if n.op in ("Block", "Unblock"))


def test_channels_last_in_between() -> None:
    body = weights("w", 16, 6) + weights("v", 9, 32) + "%k: f32[16] = const ?\n"
    body += f"%t = Transpose(%x) {TO}\n%a = Conv(%t, %w)\n%b = Transpose(%a) {BACK}\n%c = Add(%b, %k)\n%d = Relu(%c)\n"
    body += "%m = ReduceMean:17(%d) {axes=[1, 2]}\n%e = Mul(%d, %m)\n%p: i64[8] = const {0, 1, 1, 0, 0, 1, 1, 0}\n"
    body += "%f = Pad(%e, %p)\n%g = Concat(%f, %f) {axis=3}\n"
    body += f"%h = Transpose(%g) {TO}\n%i = Conv(%h, %v)\n%y = Transpose(%i) {BACK}\n"
    done = run("%x: f32[2,9,8,6]", body)
    assert "Transpose" not in done.ops and done.ops.count("Block") == done.ops.count("Unblock") == 1
    assert done.ops.count("BlockedConv") == 2


def test_an_input_that_is_read_in_both_orders() -> None:
    body = (
        weights("w", 16, 6) + weights("v", 6, 16) + f"%t = Transpose(%x) {TO}\n%a = Conv(%t, %w)\n%b = Conv(%a, %v)\n"
    )
    body += "%u: f32[9,9,1,1] = const ?\n%c = Conv(%x, %u)\n%d = Conv(%c, %u)\n"
    body += f"%e = Transpose(%b) {BACK}\n"
    done = run("%x: f32[2,9,8,6]", body, "%e, %d")
    assert done.ops.count("BlockedConv") >= 2


def test_reduction_without_its_axes() -> None:
    body = weights("w", 11, 5) + weights("v", 13, 11)
    body += "%a = Conv(%x, %w)\n%b = Conv(%a, %v)\n%y = ReduceMean:17(%b) {axes=[2, 3], keepdims=0}\n"
    done = run(X, body)
    assert done.ops == ["Block", "BlockedConv", "BlockedConv", "AveragePool", "Unblock", "Reshape"]


def test_the_limit_on_rewrites_stops_between_regions() -> None:
    one = "%{0}a = Conv(%x, %w)\n%{0}b = Conv(%{0}a, %v)\n%{0} = Softmax(%{0}b) {{axis=1}}\n"
    body = weights("w", 16, 5) + weights("v", 8, 16) + one.format("p")
    body += weights("u", 8, 8, 1) + "%c = Conv(%p, %u)\n%y = Conv(%c, %u)\n"
    assert len(run("%x: f32[1,5,9,9]", body).context.log) == 2
    limited = run("%x: f32[1,5,9,9]", body, limit=1)
    assert len(limited.context.log) == 1 and limited.ops.count("Conv") == 2


def test_subgraphs_are_blocked_on_their_own() -> None:
    graph = graph_of(
        "%x: f32[1,5,9,9], %t: bool[]",
        weights("w", 16, 5) + weights("v", 8, 16)
        + """%y = If(%t) {then_branch=graph a() {
               %h = Conv(%x, %w)
               %i = Conv(%h, %v)
               return %i
             }, else_branch=graph b() {
               %j = Conv(%x, %w)
               %k = Conv(%j, %v)
               %l = Relu(%k)
               return %l
             }}""",
        "%y",
    )  # fmt: skip
    from ronn.ops.infer import infer_types

    infer_types(graph)
    assert block_layout_of(LANES)(graph, PassContext(opset_imports={"": 18}))
    for sub in next(iter(graph)).attributes.values():
        assert [n.op for n in sub if n.op not in ("Relu",)] == CHAIN


@st.composite
def nets(draw: Any) -> Graph:
    """Random convolutions and what goes between them."""
    lines, values = [], [("x", 5)]
    for i in range(draw(st.integers(2, 9))):
        name, c = values[draw(st.integers(0, len(values) - 1))]
        kind = draw(
            st.sampled_from(["conv", "conv", "conv", "relu", "sigmoid", "add", "mul", "pool", "concat", "gate"])
        )
        out = c
        if kind == "conv":
            out, r = draw(st.sampled_from([3, 8, 11, 16])), draw(st.sampled_from([1, 3]))
            lines += [weights(f"w{i}", out, c, r), f"%v{i} = Conv(%{name}, %w{i}) {{pads={[r // 2] * 4}}}\n"]
        elif kind in ("add", "mul", "concat"):
            others = [n for n, k in values if k == c or kind == "concat"]
            other = draw(st.sampled_from(others))
            out = c if kind != "concat" else c + dict(values)[other]
            lines.append(
                f"%v{i} = {kind.capitalize()}(%{name}, %{other})" + (" {axis=1}\n" if kind == "concat" else "\n")
            )
        elif kind == "pool":
            lines.append(f"%v{i} = MaxPool(%{name}) {{kernel_shape=[3, 3], pads=[1, 1, 1, 1]}}\n")
        elif kind == "gate":
            lines.append(f"%g{i} = GlobalAveragePool(%{name})\n%v{i} = Mul(%{name}, %g{i})\n")
        else:
            lines.append(f"%v{i} = {kind.capitalize()}(%{name})\n")
        values.append((f"v{i}", out))
    outputs = draw(st.lists(st.sampled_from([n for n, _ in values[1:]]), min_size=1, max_size=3, unique=True))
    return graph_of("%x: f32[2,5,6,7]", "".join(lines), ", ".join(f"%{n}" for n in outputs))


@settings(max_examples=60, deadline=None)
@given(nets(), st.sampled_from([4, 8, 16]))
def test_random_nets(graph: Graph, lanes: int) -> None:
    apply([block_layout_of(lanes)], graph, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [5, 16, 24])
@pytest.mark.parametrize("rank", [1, 2])
def test_up_and_down_through_a_session(rank: int, channels: int) -> None:
    """Convolutions in one and two dims and transposed ones, native kernels against NumPy's."""
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w": (channels, 3, 3), "v": (channels, 12, 2), "u": (10, 12, 1), "b": (12,)}
    arrays = {
        n: rng.standard_normal(s if n == "b" else (*s, *s[2:]) if rank == 2 else s).astype(np.float32)
        for n, s in shapes.items()
    }
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w"], ["a"], pads=[1] * 2 * rank),
        make("LeakyRelu", ["a"], ["c"], alpha=0.1),
        make("ConvTranspose", ["c", "v", "b"], ["d"], strides=[2] * rank, output_padding=[1] * rank),
        make("Sigmoid", ["d"], ["e"]),
        make("Conv", ["e", "u"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, ["N", 3, *["S"] * rank])], [value("y", 1, None)],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    native = ronn.Session(model, providers=["cpu"])
    plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})])
    for n, size in ((1, 9), (2, 20)):
        x = rng.standard_normal((n, 3, *[size] * rank)).astype(np.float32)
        np.testing.assert_allclose(native.run(x)["y"], plain.run(x)["y"], rtol=1e-4, atol=1e-4)


def test_through_a_session() -> None:
    """The machine's own lanes, native kernels, against the graph as it was."""
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w": (24, 3, 3, 3), "v": (24, 24, 3, 3), "u": (10, 24, 1, 1)}
    arrays = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["c"], pads=[1] * 4),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["e", "u"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, ["N", 3, 12, 14])], [value("y", 1, None)],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    blocked = ronn.Session(model, providers=["cpu"])
    plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})])
    for n in (1, 3):
        x = rng.standard_normal((n, 3, 12, 14)).astype(np.float32)
        np.testing.assert_allclose(blocked.run(x)["y"], plain.run(x)["y"], rtol=1e-4, atol=1e-3)
    assert not any("Block" in r.op for r in plain.placement())
    if level() != "none":
        assert [r.op for r in blocked.placement()].count("ronn.cpu::BlockedConv") == 3
