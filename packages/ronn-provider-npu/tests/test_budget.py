"""The on-chip budget: what OpenCL says of each built kernel's local memory, held to the profile that it was built for.

Kernels tell nothing of themselves here: ``Entry.local_bytes`` is CL_KERNEL_LOCAL_MEM_SIZE of the compiled kernel.
"""

import re

import numpy as np
import onnx
import pyopencl as cl
import pytest

import ronn
from ronn.errors import ProviderError
from ronn.plugins import registry
from ronn_codegen.clike.kernel import Grid, Template
from ronn_codegen.clike.program import Program
from ronn_codegen.clike.templates.gemm import tile_of
from ronn_provider_npu.device import held_to
from ronn_provider_npu.launcher import OpenCLLauncher, target_of
from ronn_provider_npu.profiles import DeviceProfile, shipped_names

HEAD = '<ir_version: 9, opset_import: ["" : 23, "com.microsoft": 1]>'

FLOAT = """g (float[2,70,40] a, float[40,50] b, float[2,3,24,8] q, float[2,3,40,8] k, float[2,3,40,8] v,
    float[3,2,10] t, float[1,20,10] w, float[1,20,5] r) =>
    (float[2,70,50] y, float[2,70] s, float[2,3,24,8] o, float[M,N,P,Q] h) <int64[1] last = {2}> {
    p = MatMul(a, b)
    y = Softmax(p)
    s = ReduceSum <keepdims = 0> (a, last)
    o = Attention(q, k, v)
    h = LSTM <hidden_size = 5> (t, w, r) }"""

ROWS = """g (float[70,40] a, float[40,50] b) => (float[70,50] p, float[70,50] y) { p = MatMul(a, b) y = Softmax(p) }"""

BYTES = """g (uint8[70,100] a, int8[100,90] b, int32[6,300] c) =>
    (int32[70,90] y, int32[6] m, int32[6,1] l, int32[6,300] t) <int64[1] last = {1}> {
    y = MatMulInteger(a, b)
    m = ReduceSum <keepdims = 0> (c, last)
    l = ReduceMax(c, last)
    t = Max(c, c) }"""

PICTURES = """g (float[1,8,20,20] x, float[16,8,3,3] w, float[8,1,3,3] d, float[8,4,2,2] e) =>
    (float[1,16,20,20] y, float[1,8,18,18] z, float[1,8,10,10] p, float[1,8,1,1] g, float[1,4,40,40] u) {
    y = Conv <pads = [1,1,1,1]> (x, w)
    z = Conv <group = 8> (x, d)
    p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)
    g = GlobalAveragePool(x)
    u = ConvTranspose <strides = [2,2]> (x, e) }"""

INT8_PICTURES = """g (uint8[1,7,19,13] x, int8[21,7,3,3] w) => (uint8[1,21,17,11] y, int32[1,21,17,11] z)
    <float s = {0.02}, float v = {0.5}, uint8 p = {128}, int8 o = {0}> {
    y = QLinearConv(x, s, p, w, s, o, v, p)
    z = ConvInteger(x, w, p) }"""

MODELS = {"float": FLOAT, "bytes": BYTES, "pictures": PICTURES, "int8 pictures": INT8_PICTURES}
PLACES = {
    "opencl-gpu": ("float", "bytes", "pictures", "int8 pictures"),
    "pocl-cpu": ("float", "bytes", "pictures", "int8 pictures"),
    "tpu-128x128-int8": ("bytes", "int8 pictures"),
    "edge-npu-8tops": ("bytes", "int8 pictures"),
}
"""The models that a profile takes as a whole."""


def inputs_of(model, seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for i in ronn.load(model).inputs:
        dtype = np.dtype(i.type.dtype.numpy)
        if dtype.kind == "f":
            made[i.name] = rng.normal(0, 0.5, i.shape).astype(dtype)
        else:
            made[i.name] = rng.integers(0 if dtype.kind == "u" else -100, 100, i.shape, dtype)
    return made


@pytest.fixture
def built(monkeypatch):
    """Runs a model under a profile, holds its outputs to the reference, and gives the entries of all its kernels and
    the targets that they were made for."""
    programs = []
    make = Program.__init__
    monkeypatch.setattr(Program, "__init__", lambda self, *args: (make(self, *args), programs.append(self))[0])

    def run(text, profile, *, whole=True, behind=("reference",)):
        programs.clear()
        model = onnx.parser.parse_model(HEAD + text)
        given = inputs_of(model)
        with ronn.Session(model, providers=[("npu", {"profile": str(profile)}), *behind]) as session:
            found = session.run(given)
            left = [f"{r.op}: {r.reason}" for r in session.placement() if r.provider != "npu"]
            assert not (whole and left)
            with ronn.Session(model, providers=["reference"]) as oracle:
                expected = oracle.run(given)
            for name in (o.name for o in session.outputs):
                step = 1 if expected[name].dtype == np.uint8 else 2e-5  # rounding to bytes may fall to either side
                got, wanted = (r[name].astype(np.float64) for r in (found, expected))
                np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=step)
            return [(e, p.launcher.target, p.launcher) for p in programs for e in p.entries.values()]

    return run


@pytest.mark.parametrize(("profile", "name"), [(p, n) for p, names in PLACES.items() for n in names])
def test_no_kernel_takes_more_on_chip_memory_than_its_profile_has(built, profile, name):
    entries = built(MODELS[name], profile)
    budget = DeviceProfile.shipped(profile).kernel_bytes
    assert len(entries) >= 2
    for entry, target, launcher in entries:
        assert target.local_bytes <= min(budget, launcher.device.local_mem_size)
        assert entry.local_bytes <= budget
        assert entry.local_bytes <= target.local_bytes
    if profile != "pocl-cpu":  # memory is no cache there: products and convolutions have their tiles on the chip
        assert any(entry.local_bytes > 0 for entry, _, _ in entries)


SMALL = """
name = "small"
[vector]
peak = {{ "*" = 1e10 }}
[memory]
on_chip = {on_chip}
bandwidth = 1e9
"""


@pytest.fixture
def small(tmp_path):
    def make(on_chip, more=""):
        path = tmp_path / f"small{on_chip}.toml"
        path.write_text(SMALL.format(on_chip=on_chip) + more)
        return path

    return make


def test_kernels_shrink_with_the_chip(built, small):
    """The measurement sees what kernels take, and kernels take what they may: the test above can fail."""
    most = []
    for on_chip in (1 << 10, 4 << 10, 32 << 10):
        entries = built(ROWS, small(on_chip))
        most.append(max(e.local_bytes for e, _, _ in entries))
        assert most[-1] <= on_chip
    assert most[0] < most[1] < most[2]
    assert most[2] > 4 << 10


def test_what_does_not_fit_the_smallest_chip_is_refused_in_words(built, small):
    unit = "\n[matrix]\nrows = 16\ncolumns = 16\npeak = { float32 = 1e12 }"
    text = "g (float[4,8] x, float[8,4] w) => (float[4,4] y) { y = MatMul(x, w) }"
    assert built(text, small(2048, unit))
    assert built(text, small(1024, unit), whole=False) == []
    model = onnx.parser.parse_model(HEAD + text)
    with pytest.raises(ronn.PlacementError, match=r"a tile of 16 x 16 in float32 takes 1\.125 KiB on the chip"):
        ronn.Session(model, providers=[("npu", {"profile": str(small(1024, unit))})])


def test_what_opencl_says_of_a_kernel_is_what_its_text_takes():
    """CL_KERNEL_LOCAL_MEM_SIZE counts arrays that a kernel declares, on this device."""
    device = registry().get("npu").devices()[0]
    launcher = registry().get("npu").provider.launcher(device, {})
    context = cl.Context([launcher.device])
    for n in (16, 1000):
        text = f"""__kernel void k(__global float *x) {{
            __local float room[{n}]; const int i = get_local_id(0); room[i] = x[i];
            barrier(CLK_LOCAL_MEM_FENCE); x[i] = room[{n} - 1 - i]; }}"""
        kernel = cl.Kernel(cl.Program(context, text).build(), "k")
        told = kernel.get_work_group_info(cl.kernel_work_group_info.LOCAL_MEM_SIZE, launcher.device)
        assert 4 * n <= told < 4 * n + 256


def test_a_kernel_that_takes_too_much_is_an_error_before_it_runs(built, small, monkeypatch):
    greedy = Template(
        "copy_strips(x: u8*)", "    LOCAL u8 room[8192]; room[LOCAL_ID(0)] = x[0]; BARRIER(); x[0] = room[0];",
        tiles=lambda sizes, target: Grid((1, 1, 1)),
    )  # fmt: skip
    source = Program._build

    def grown(self):
        step = self.steps[0]
        self.steps = [ronn.records.replace(step, kernel=greedy, entry="greedy")]
        return source(self)

    monkeypatch.setattr(Program, "_build", grown)
    text = "g (float[4] x) => (float[4] y) { y = Exp(x) }"
    with pytest.raises(ProviderError, match="kernel greedy takes 8192 bytes of on-chip memory, and may use 4096"):
        built(text, small(4096), behind=())


@pytest.mark.parametrize("name", ["tpu-128x128-int8", "edge-npu-8tops"])
def test_convolutions_are_built_with_tiles_of_the_matrix_unit(built, monkeypatch, name):
    """Of 21 channels and 187 pixels: less than a tile of them, and no whole number of tiles."""
    texts = []
    build = OpenCLLauncher.build
    monkeypatch.setattr(
        OpenCLLauncher, "build", lambda self, given, *more: (texts.extend(given.values()), build(self, given, *more))[1]
    )
    entries = built(INT8_PICTURES, name)
    rows, columns, depth = DeviceProfile.shipped(name).unit
    tiles = [
        tuple(int(re.search(rf"\b{size} = (\d+)", text)[1]) for size in ("ROWS", "PIXELS", "DEPTH", "ITEMS"))
        for text in texts
        if "PIXELS" in text
    ]
    assert len(tiles) == 2
    for down, across, steps, items in tiles:
        assert (down % rows, across % columns, steps % depth) == (0, 0, 0)
        assert 1 < items <= entries[0][1].group


def test_a_convolution_whose_tile_does_not_fit_is_refused_in_words(built, small):
    unit = "\n[matrix]\nrows = 1\ncolumns = 64\npeak = { float32 = 1e12 }"
    text = "g (float[1,3,5,5] x, float[4,3,2,2] w) => (float[1,4,4,4] y) { y = Conv(x, w) }"
    model = onnx.parser.parse_model(HEAD + text)
    reason = "a tile of 1 channels x 64 pixels x 1 steps takes 3140 bytes of local memory, and there are 2048"
    with pytest.raises(ronn.PlacementError, match=reason):
        ronn.Session(model, providers=[("npu", {"profile": str(small(2048, unit))})])
    assert built(text, small(4096, unit))


@pytest.mark.parametrize("name", shipped_names())
def test_tiles_of_products_are_those_of_the_matrix_unit(name):
    profile = DeviceProfile.shipped(name)
    device = registry().get("npu").devices()[0]
    launcher = registry().get("npu").provider.launcher(device, {})
    target = held_to(target_of(launcher.device), profile)
    tile = tile_of(target, 1, 1)
    rows, columns, depth = profile.unit
    assert (tile.rows % rows, tile.columns % columns, tile.depth % depth) == (0, 0, 0)
    assert tile.local_bytes(1, 1) <= profile.kernel_bytes
