"""Estimates: products and padding by hand, the arithmetic of the cost model, what is on the host, words and JSON."""

import json

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ronn.errors import OptionError
from ronn.ir.graph import clone
from ronn.model import Model
from ronn.ops.infer import infer_types
from ronn_provider_npu.estimate import estimate
from ronn_provider_npu.estimate.products import Product, products_of, traffic
from ronn_provider_npu.estimate.report import COLUMNS, NOT_MEASURED, row_of
from ronn_provider_npu.profiles import DeviceProfile, shipped_names
from ronn_provider_npu.profiles.reading import profile_of

HEAD = '<ir_version: 9, opset_import: ["" : 23, "com.microsoft": 1]>'

# Round figures: 1e9 operations, 1e9 bytes of memory and 1e8 of transfers a second, 1 us for a start and for a transfer.
ROUND = """
name = "round"
launch_s = 1e-6
[vector]
peak = { float32 = 1e9 }
[memory]
on_chip = "64 KiB"
bandwidth = 1e9
[transfer]
bandwidth = 1e8
latency_s = 1e-6
chunk = 1000
[power]
idle_w = 2.0
operation_j = { float32 = 1e-9 }
byte_j = 1e-9
"""


def model(text):
    return onnx.parser.parse_model(HEAD + text)


def node(text):
    """The only node of a model, its types inferred."""
    graph = clone(Model.load(model(text)).graph)
    infer_types(graph)
    (found,) = graph
    return found


PRODUCTS = [
    ("g (float[5,7] a, float[7,9] b) => (float[M,N] y) { y = MatMul(a, b) }", [(1, 5, 9, 7)]),
    ("g (float[7] a, float[7,9] b) => (float[N] y) { y = MatMul(a, b) }", [(1, 1, 9, 7)]),
    ("g (float[5,7] a, float[7] b) => (float[M] y) { y = MatMul(a, b) }", [(1, 5, 1, 7)]),
    ("g (float[3,5,7] a, float[7,9] b) => (float[B,M,N] y) { y = MatMul(a, b) }", [(1, 15, 9, 7)]),
    ("g (float[3,5,7] a, float[2,1,7,9] b) => (float[A,B,M,N] y) { y = MatMul(a, b) }", [(6, 5, 9, 7)]),
    ("g (float[7,5] a, float[9,7] b) => (float[M,N] y) { y = Gemm <transA = 1, transB = 1> (a, b) }", [(1, 5, 9, 7)]),
    ("g (int8[5,7] a, int8[7,9] b) => (int32[M,N] y) { y = MatMulInteger(a, b) }", [(1, 5, 9, 7)]),
    ("g (float[2,3,8,8] x, float[16,3,3,3] w) => (float[A,B,C,D] y) { y = Conv(x, w) }", [(1, 2 * 36, 16, 27)]),
    ("g (float[1,8,8,8] x, float[8,1,3,3] w) => (float[A,B,C,D] y) { y = Conv <group = 8> (x, w) }", [(8, 36, 1, 9)]),
    ("g (float[1,4,5] x, float[4,6,3] w) => (float[A,B,C] y) { y = ConvTranspose(x, w) }", [(1, 5, 18, 4)]),
    (
        "g (float[6,2,8] x, float[1,20,8] w, float[1,20,5] r) => (float[A,B,C,D] y) "
        "{ y = LSTM <hidden_size = 5> (x, w, r) }",
        [(6, 2, 20, 8), (6, 2, 20, 5)],
    ),
    (
        "g (float[2,3,10,4] q, float[2,3,12,4] k, float[2,3,12,6] v) => (float[A,B,C,D] y) { y = Attention(q, k, v) }",
        [(6, 10, 12, 4), (6, 10, 6, 12)],
    ),
    ("g (float[4] x) => (float[4] y) { y = Exp(x) }", []),
]


@pytest.mark.parametrize(("text", "expected"), PRODUCTS)
def test_products_by_hand(text, expected):
    assert [(p.batch, p.m, p.n, p.k) for p in products_of(node(text))] == expected


def test_a_layer_of_a_well_known_network():
    # ResNet-50's first convolution: 118 013 952 multiply-adds, from its shapes.
    (p,) = products_of(node(
        "g (float[1,3,224,224] x, float[64,3,7,7] w) => (float[A,B,C,D] y) "
        "{ y = Conv <strides = [2,2], pads = [3,3,3,3]> (x, w) }"
    ))  # fmt: skip
    assert p.macs == 118_013_952


sizes = st.integers(1, 300)


@given(st.tuples(st.integers(1, 3), sizes, sizes, sizes), st.tuples(st.integers(1, 128), st.integers(1, 128), sizes))
def test_padding_fills_dims_up(shape, unit):
    p = Product(*shape)
    assert p.macs <= p.padded(unit)
    assert p.padded(unit) % (unit[0] * unit[1] * unit[2]) == 0
    assert p.padded((1, 1, 1)) == p.macs
    whole = Product(p.batch, p.m * unit[0], p.n * unit[1], p.k * unit[2])
    assert whole.padded(unit) == whole.macs


@given(st.tuples(st.just(1), sizes, sizes, sizes), st.integers(64, 1 << 20))
def test_more_memory_on_the_chip_never_reads_more(shape, room):
    p = Product(*shape)
    a, b = p.m * p.k, p.k * p.n
    profile = profile_of(ROUND, "round.toml")
    small, large = (sum(traffic(p, (a, b), profile.with_on_chip(n))[:2]) for n in (room, 4 * room))
    assert a + b <= large <= small


def test_caches_count_as_near_the_units():
    with_cache = profile_of(ROUND.replace('on_chip = "64 KiB"', 'on_chip = 8192\ncache = "1 MiB"'), "round.toml")
    assert with_cache.kernel_bytes == 8192
    assert traffic(Product(1, 256, 256, 256), (65536, 65536), with_cache)[:2] == (65536, 65536)


def test_quantising_takes_the_rate_of_what_it_makes():
    text = "g (float[1000] x) => (int8[1000] y) <float s = {0.5}, int8 z = {1}> { y = QuantizeLinear(x, s, z) }"
    edge = DeviceProfile.shipped("edge-npu-8tops")
    (row,) = estimate(model(text), edge).on_device
    assert row.compute_s == pytest.approx(row.operations / edge.vector.peak.of("int8"))


def test_operands_that_fit_are_read_once_and_others_by_tiles():
    profile = profile_of(ROUND, "round.toml").with_on_chip(8192)
    assert traffic(Product(1, 256, 256, 256), (65536, 65536), profile.with_on_chip(1 << 20))[:2] == (65536, 65536)
    a, b, words = traffic(Product(1, 256, 256, 256), (65536, 65536), profile)
    assert (a, b) == (8 * 65536, 8 * 65536)  # half of 8 KiB holds 32 x 32 sums of 4 bytes
    assert "tiles of 32 x 32" in words


def test_the_arithmetic_of_one_kernel():
    e = estimate(model("g (float[1000] x) => (float[1000] y) { y = Relu(x) }"), profile_of(ROUND, "round.toml"))
    (row,) = e.rows
    assert row.operations >= 1000
    assert row.compute_s == pytest.approx(row.operations / 1e9)
    assert row.memory_bytes == 8000
    assert row.memory_s == pytest.approx(8e-6)
    assert row.transfer_bytes == 8000
    assert row.transfer_s == pytest.approx(80e-6 + 2e-6)
    assert row.launch_s == pytest.approx(1e-6)
    assert row.latency_s == pytest.approx(max(row.compute_s, 8e-6) + 80e-6 + 2e-6 + 1e-6)
    assert row.energy_j == pytest.approx(row.operations * 1e-9 + 8000e-9 + 2.0 * row.latency_s)
    assert row.bound == e.bottleneck == "transfer"
    assert e.shares()["transfer"] == pytest.approx(1.0)
    assert (e.latency_s, e.energy_j) == (row.latency_s, row.energy_j)


def test_double_buffering_hides_all_but_the_first_piece():
    text = "g (float[1000] x) => (float[1000] y) { y = Relu(x) }"
    turns = estimate(model(text), profile_of(ROUND, "r.toml"))
    both = estimate(model(text), profile_of(ROUND.replace("chunk", "double_buffering = true\nchunk"), "r.toml"))
    # 8000 bytes in pieces of 1000: 10 us of the first piece are waited for, the other 70 us lie beside the work.
    assert both.latency_s == pytest.approx(10e-6 + max(8e-6, turns.rows[0].compute_s, 70e-6) + 2e-6 + 1e-6)
    assert both.latency_s < turns.latency_s


def test_without_energies_the_most_watts_count():
    text = ROUND.partition("operation_j")[0] + "tdp_w = 5.0"
    e = estimate(model("g (float[1000] x) => (float[1000] y) { y = Relu(x) }"), profile_of(text, "r.toml"))
    assert e.energy_j == pytest.approx(5.0 * e.latency_s)


CHAIN = "g (float[1000] x) => (float[1] y, float[1000] z) { z = Relu(x) a = CumSum(z, i) y = ReduceMax(a) }".replace(
    "{", "<int64 i = {0}> {"
)


def test_results_that_the_next_kernel_reads_stay_on_the_chip():
    e = estimate(model(CHAIN), profile_of(ROUND, "round.toml"))
    assert len(e.on_device) >= 2, [r.reason for r in e.on_host]
    assert sum(r.kept_bytes for r in e.rows) == 4000  # a: z leaves
    tight = estimate(model(CHAIN), profile_of(ROUND.replace("64 KiB", "4 KiB"), "round.toml"))
    assert sum(r.kept_bytes for r in tight.rows) == 0
    assert sum(r.memory_bytes for r in tight.rows) == sum(r.memory_bytes for r in e.rows) + 2 * 4000


def test_what_stays_on_the_host_is_listed_and_counts_for_nothing():
    profile = profile_of(ROUND + "[operators]\ndeny = ['CumSum']", "round.toml")
    e = estimate(model(CHAIN), profile)
    (host,) = e.on_host
    assert (host.op, host.reason) == ("CumSum", "profile round: it has no CumSum")
    assert host.latency_s == host.energy_j == 0.0
    text = str(e)
    assert "of the operations, whose time and energy are not in the estimate" in text
    assert "1 x CumSum: profile round: it has no CumSum" in text
    # What the host makes and takes crosses: x, z (twice: it is an output, and CumSum's input is one value), a, y.
    assert sum(r.transfer_bytes for r in e.rows) == 4000 + 4000 + 4000 + 4


def test_shapes_are_given_or_guessed_and_the_result_says_so():
    text = "g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"
    profile = profile_of(ROUND, "round.toml")
    guessed = estimate(model(text), profile)
    assert set(guessed.guessed) == {"N"}
    assert "guessed    N = " in str(guessed)
    told = estimate(model(text), profile, {"x": (100, 3)})
    assert told.guessed == {}
    assert told.inputs == "x: f32[100,3]"
    assert told.latency_s == estimate(model(text), profile, dimensions={"N": 100}).latency_s > guessed.latency_s
    with pytest.raises(OptionError, match=r"no input 'z'(.|\n)*inputs: x"):
        estimate(model(text), profile, {"z": (1, 3)})
    for shape in ((1, 4), (1,), (-1, 3)):
        with pytest.raises(OptionError, match="its shape cannot be"):
            estimate(model(text), profile, {"x": shape})


@pytest.mark.parametrize("name", shipped_names())
def test_it_is_called_an_estimate_wherever_it_is_shown(name):
    e = estimate(model("g (int8[64,64] x) => (int8[64,64] y) { y = Max(x, x) }"), name)
    data = json.loads(json.dumps(e.as_data()))
    assert data["kind"] == "estimate"
    assert data["note"] == NOT_MEASURED
    assert data["profile"] == name
    assert data["latency_s"] == pytest.approx(sum(r["latency_s"] for r in data["nodes"]))
    assert data["energy_j"] == pytest.approx(sum(r["energy_j"] for r in data["nodes"]))
    assert str(e).startswith(NOT_MEASURED)
    assert "(estimate)" in str(e)
    assert all(len(row_of(r)) == len(COLUMNS) for r in e.rows)
    assert 0 < e.latency_s < 1


def test_a_profile_by_name_or_itself():
    text = model("g (int8[64] x) => (int8[64] y) { y = Max(x, x) }")
    assert estimate(text, "pocl-cpu").latency_s == estimate(text, DeviceProfile.shipped("pocl-cpu")).latency_s
