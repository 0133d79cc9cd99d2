"""What a device held to a profile takes, what it does not, and the words for it; where tensors lie."""

import numpy as np
import onnx
import pytest

import ronn
from ronn.errors import OptionError
from ronn.ir.graph import Node, Value
from ronn.ir.types import DType, TensorType
from ronn.plugins import registry
from ronn_codegen.clike.program import Program
from ronn_provider_npu.profiles import DeviceProfile
from ronn_provider_npu.profiles.claims import refusal, tile_bytes

HEAD = '<ir_version: 9, opset_import: ["" : 18, "com.microsoft": 1]>'
EDGE, TPU = "edge-npu-8tops", "tpu-128x128-int8"

TINY = """
name = "tiny"
[vector]
peak = { float32 = 1e10, int32 = 1e10 }
[memory]
on_chip = "16 KiB"
bandwidth = 1e9
"""


def session(text, profile, **options):
    model = onnx.parser.parse_model(HEAD + text)
    return ronn.Session(model, providers=[("npu", {"profile": profile}), "reference"], options=options)


def placed(text, profile):
    """(provider, reason) of each node by the name of its first output, no pass having changed the model."""
    rows = session(text, profile, optimization="none").placement().rows
    return {row.node.rpartition("%")[2]: (row.provider, row.reason.removeprefix("onnx.reference; ")) for row in rows}


@pytest.fixture
def tiny(tmp_path):
    """Makes a profile out of TINY and more text, and gives its path."""

    def make(more="", **changes):
        text = TINY
        for old, new in changes.items():
            text = text.replace(*new) if isinstance(new, tuple) else text.replace(old, new)
        path = tmp_path / "tiny.toml"
        path.write_text(text + more)
        return str(path)

    return make


def test_products_in_float_stay_out_of_a_unit_for_int8():
    text = "g (float[4,8] x, float[8,4] w) => (float[4,4] y) { y = MatMul(x, w) }"
    for profile in (EDGE, TPU):
        provider, reason = placed(text, profile)["y"]
        assert provider == "reference"
        assert f"npu: profile {profile}: its matrix unit multiplies int8, uint8; %x is float32" in reason
        assert "ronn npu quantize" in reason


def test_the_vector_unit_takes_its_dtypes_and_constants_do_not_count():
    text = """g (int32[4] i, float[4] x) => (int32[4] a, float[4] b, int32[2,2] c) <int64[2] s = {2, 2}> {
        a = Abs(i)  b = Exp(x)  c = Reshape(i, s)
    }"""
    rows = placed(text, EDGE)
    assert rows["a"][0] == rows["c"][0] == "npu"
    assert "its vector unit takes int8, uint8, int16, uint16, int32, int64, bool; %x is float32" in rows["b"][1]
    assert placed(text, TPU)["b"][0] == "npu"


def test_operators_with_dtypes_of_their_own_take_those(tiny):
    text = """g (float[4] x, int8[4] q) => (int8[4] y, float[4] z)
        <float s = {0.5}, int8 p = {1}> { y = QuantizeLinear(x, s, p) z = DequantizeLinear(q, s, p) }"""
    rows = placed(text, EDGE)
    assert not any("profile" in reason for _, reason in rows.values())
    profile = tiny("[operators.dtypes]\nQuantizeLinear = ['float32', 'uint8']")
    assert "its QuantizeLinear takes float32, uint8; %y is int8" in placed(text, profile)["y"][1]


def test_operators_that_a_profile_does_not_have(tiny):
    text = "g (float[4] x) => (float[4] y, float[4] z, float[4] w) { y = Exp(x) z = Tan(x) w = Sqrt(x) }"
    rows = placed(text, tiny("[operators]\ndeny = ['Ta*', 'Sqrt']"))
    assert rows["y"][0] == "npu"
    assert rows["z"][1] == "npu: profile tiny: it has no Tan (deny: Ta*)"
    assert rows["w"][1] == "npu: profile tiny: it has no Sqrt"
    rows = placed(text, tiny("[operators]\nallow = ['Exp', 'S*']"))
    assert rows["y"][0] == rows["w"][0] == "npu"
    assert rows["z"][1] == "npu: profile tiny: it has no Tan (not in allow)"


def test_operators_fused_by_passes_are_what_they_were_made_of(tiny):
    x, w, y = (Value(n, TensorType(DType.FLOAT32, shape)) for n, shape in (("x", (4, 8)), ("w", (8, 4)), ("y", (4, 4))))
    node = Node("FusedMatMul", [x, w], [y], {"activation": "Relu"}, domain="ronn", version=1)
    for denied in ("Relu", "MatMul"):
        profile = DeviceProfile.of(tiny(f"[operators]\ndeny = ['{denied}']"))
        assert refusal(node, profile) == f"profile tiny: it has no {denied}"
    assert refusal(node, DeviceProfile.of(tiny("[operators]\nallow = ['MatMul', 'Relu']"))) == ""


def test_rank(tiny):
    text = "g (float[1,2,3,4] x) => (float[1,2,3,4] y) { y = Exp(x) }"
    assert placed(text, tiny("[operators]\nmax_rank = 4"))["y"][0] == "npu"
    _, reason = placed(text, tiny("[operators]\nmax_rank = 3"))["y"]
    assert reason == "npu: profile tiny: %x has rank 4, and it takes 3 at most"


def test_a_tile_of_the_unit_must_lie_on_the_chip(tiny):
    text = "g (float[4,8] x, float[8,4] w) => (float[4,4] y) { y = MatMul(x, w) }"
    unit = "[matrix]\nrows = 64\ncolumns = 64\npeak = { float32 = 1e12 }"
    path = tiny(unit)
    need = tile_bytes(DeviceProfile.of(path), 4)
    assert need == (64 + 64) * 4 + 64 * 64 * 4 > 16 << 10
    _, reason = placed(text, path)["y"]
    assert "a tile of 64 x 64 in float32 takes 16.5 KiB on the chip, and a kernel has 16 KiB" in reason
    larger = tiny(unit, on_chip=('"16 KiB"', '"17 KiB"'))
    assert "on the chip" not in placed(text, larger)["y"][1]
    halved = tiny(unit + "\n[transfer]\ndouble_buffering = true", on_chip=('"16 KiB"', '"17 KiB"'))
    assert "a kernel has 8.5 KiB" in placed(text, halved)["y"][1]


def test_slices_start_where_tensors_may(tiny):
    text = "g (float[4,8] x) => (float[1,8] a, float[3,8] b) <int64[2] s = {1, 3}> { a, b = Split <axis = 0> (x, s) }"
    assert placed(text, tiny())["a"][0] == "npu"
    strict = tiny(bandwidth=("bandwidth = 1e9", "bandwidth = 1e9\nviews = false"))
    provider, reason = placed(text, strict)["a"]
    assert provider == "reference"
    assert "%b would start 32 bytes into %x, and its tensors start at multiples of 64 bytes" in reason
    loose = tiny(bandwidth=("bandwidth = 1e9", "bandwidth = 1e9\nviews = false\nalignment = 32"))
    assert placed(text, loose)["a"][0] == "npu"


@pytest.mark.parametrize("alignment", [64, 128, 4096])
def test_tensors_lie_at_multiples_of_the_alignment(tiny, monkeypatch, alignment):
    programs = []
    build = Program.__init__
    monkeypatch.setattr(Program, "__init__", lambda self, *args: (build(self, *args), programs.append(self))[0])
    path = tiny(bandwidth=("bandwidth = 1e9", f"bandwidth = 1e9\nalignment = {alignment}"))
    text = "g (float[3,5] x) => (float[3,5] y, float[3,5] z) { a = Exp(x) b = Neg(a) y = Abs(b) z = Mul(a, b) }"
    s = session(text, path)
    x = np.linspace(-1, 1, 15, dtype=np.float32).reshape(3, 5)
    y, z = s.run(x)
    np.testing.assert_allclose(y, np.exp(x), rtol=1e-6)
    np.testing.assert_allclose(z, -np.exp(2 * x), rtol=1e-6)
    (program,) = [p for p in programs if p.steps]
    places = [program.storage(v).offset for v in (*program.part.inputs, *program.part.outputs)]
    assert len(places) >= 3
    assert all(start % alignment == 0 for start in places)
    assert any(start % (2 * max(alignment, program.launcher.alignment)) for start in places)


def test_one_model_under_two_profiles_at_once():
    text = "g (float[4] x) => (float[4] y) { y = Exp(x) }"
    one, other = session(text, ""), session(text, EDGE)
    assert [s.placement().rows[0].provider for s in (one, other)] == ["npu", "reference"]
    x = np.ones(4, np.float32)
    np.testing.assert_allclose(one.run(x)["y"], other.run(x)["y"], rtol=1e-6)


def test_a_profile_that_there_is_not_fails_the_session():
    with pytest.raises(OptionError, match="no profile 'edge'"):
        session("g (float[4] x) => (float[4] y) { y = Exp(x) }", "edge")
    with pytest.raises(OptionError, match="option 'profile' of provider 'npu' is text"):
        session("g (float[4] x) => (float[4] y) { y = Exp(x) }", 7)


def test_devices_say_which_profile_they_are_held_to():
    device = registry().get("npu").devices()[0]
    assert device.profile.name in ("pocl-cpu", "opencl-gpu")
