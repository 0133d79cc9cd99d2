"""Profiles: what TOML files may say, what they may not, and what follows for kernels."""

import tomllib

import pytest

from ronn.errors import OptionError
from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.opencl import OpenCL
from ronn_provider_npu.device import held_to, usual_profile
from ronn_provider_npu.profiles import DeviceProfile, Rates, shipped_names
from ronn_provider_npu.profiles.profile import toml_of
from ronn_provider_npu.profiles.reading import SECTIONS, profile_of

TINY = """
name = "tiny"
[vector]
peak = { float32 = 1e10 }
[memory]
on_chip = "8 KiB"
bandwidth = 1e9
"""


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_profile_says_everything_that_its_file_says(name):
    profile = DeviceProfile.shipped(name)
    said = tomllib.loads(toml_of(profile))
    assert profile.name == said["name"] == name
    assert profile.description
    for section, (_, keys) in SECTIONS.items():
        given = said.get(section, {})
        assert set(given) <= set(keys)
        for key, value in given.items():
            held = getattr(getattr(profile, section), key)
            assert (dict(held.pairs) if isinstance(held, Rates) else held) in (
                value, tuple(value) if isinstance(value, list) else None, *_other_ways(value)
            ), f"{section}.{key}"  # fmt: skip
    assert profile == DeviceProfile.shipped(name)
    assert hash(profile) == hash(DeviceProfile.shipped(name))


def _other_ways(value):
    """How a profile holds sizes that are text, and tables of lists."""
    if isinstance(value, str):
        number, _, unit = value.partition(" ")
        return [int(number) * {"KiB": 2**10, "MiB": 2**20}[unit]]
    if isinstance(value, dict):
        return [tuple((k, tuple(v)) for k, v in value.items() if isinstance(v, list))]
    return []


def test_the_four_profiles_are_what_they_are_called():
    assert set(shipped_names()) == {"opencl-gpu", "pocl-cpu", "tpu-128x128-int8", "edge-npu-8tops"}
    tpu, edge = DeviceProfile.shipped("tpu-128x128-int8"), DeviceProfile.shipped("edge-npu-8tops")
    assert tpu.unit[:2] == (128, 128)
    assert edge.products.of("int8") == 8e12
    assert edge.memory.on_chip == 4 << 20
    assert tpu.int8_only
    assert edge.int8_only
    assert not DeviceProfile.shipped("opencl-gpu").int8_only
    # Peaks are what the units make of the clocks that the comments name.
    assert tpu.products.of("int8") == pytest.approx(128 * 128 * 2 * 700e6, rel=0.01)
    assert edge.products.of("int8") == pytest.approx(64 * 64 * 2 * 977e6, rel=0.01)


def test_defaults_of_what_a_file_leaves_out():
    p = profile_of(TINY, "tiny.toml")
    assert p.unit == (1, 1, 1)
    assert not p.has_matrix_unit
    assert p.products is p.vector.peak
    assert p.kernel_bytes == 8 << 10
    assert p.operators.refusal("com.microsoft::FastGelu") == ""
    assert "float64" not in p.vector.peak


def test_names_and_paths(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TINY)
    assert DeviceProfile.of(str(path)).name == "tiny"
    assert DeviceProfile.of("pocl-cpu") == DeviceProfile.shipped("pocl-cpu")
    with pytest.raises(OptionError, match=r"no profile 'pocl-gpu'(.|\n)*did you mean 'pocl-cpu'"):
        DeviceProfile.of("pocl-gpu")
    with pytest.raises(OptionError, match=r"absent\.toml: cannot be read as a device profile"):
        DeviceProfile.of(str(tmp_path / "absent.toml"))


WRONG = [
    ("name =", r"mine\.toml: is not TOML"),
    ("[vector]\npeak = {float32 = 1}", r"mine\.toml: name is missing"),
    (TINY.replace('on_chip = "8 KiB"', ""), r"memory\.on_chip is missing"),
    (TINY.replace("bandwidth = 1e9", 'bandwidth = "fast"'), r"memory\.bandwidth = 'fast' is not(.|\n)*number above 0"),
    (TINY.replace("bandwidth = 1e9", "bandwidth = 0"), r"memory\.bandwidth = 0 is not allowed(.|\n)*number above 0"),
    (TINY.replace("bandwidth = 1e9", "bandwidth = nan"), r"memory\.bandwidth = nan is not allowed"),
    (TINY.replace('"8 KiB"', '"8 pages"'), r"memory\.on_chip = '8 pages' is not allowed(.|\n)*256 KiB"),
    (TINY.replace("float32", "float23"), r"vector\.peak(.|\n)*did you mean 'float32'"),
    (TINY.replace("1e10", "-1"), r"vector\.peak(.|\n)*number above 0, by dtype; it has float32 = -1"),
    (TINY.replace("{ float32 = 1e10 }", "{}"), r"vector\.peak is empty"),
    (TINY + "alignment = 48", r"memory\.alignment = 48 is not allowed(.|\n)*power of two from 1 to 4096"),
    (TINY + "views = 1", r"memory\.views = 1 is not allowed(.|\n)*true or false"),
    (TINY + "on_chips = 1", r"no key 'memory\.on_chips'(.|\n)*did you mean 'on_chip'"),
    (TINY + "[matrx]\nrows = 1", r"no key 'matrx'(.|\n)*did you mean 'matrix'"),
    (TINY + "[colour]\nred = 1", r"no key 'colour'(.|\n)*known: name, description, launch_s, matrix"),
    (TINY + "[matrix]\nrows = 0", r"matrix\.rows = 0 is not allowed(.|\n)*whole number from 1 on"),
    (TINY + "[operators]\nallow = 'Conv'", r"operators\.allow = 'Conv' is not allowed(.|\n)*list of operators"),
    (TINY + "[operators.dtypes]\nConv = ['int9']", r"operators\.dtypes(.|\n)*did you mean 'int\d+'"),
    (TINY + "[operators.dtypes]\nConv = 'int8'", r"operators\.dtypes(.|\n)*table of operators and dtypes"),
    ('transfer = "quick"\n' + TINY, r"transfer = 'quick' is not allowed(.|\n)*table \[transfer\] with bandwidth"),
    (TINY.replace('"tiny"', '""'), r"mine\.toml: name is empty"),
    (TINY.replace('"tiny"', "7"), r"name = 7 is not allowed(.|\n)*text"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_a_file_cannot_say_is_told_with_file_key_and_what_may_stand_there(text, words):
    with pytest.raises(OptionError, match=words):
        profile_of(text, "mine.toml")


def test_a_target_is_the_least_of_device_and_profile():
    device = Target(OpenCL(), group=64, local_bytes=1 << 20, width=16, doubles=True, compute_units=2)
    edge = held_to(device, DeviceProfile.shipped("edge-npu-8tops"))
    assert edge.local_bytes == 1 << 20  # the device has less than the profile's 2 MiB
    assert (edge.unit, edge.width, edge.group, edge.doubles, edge.compute_units) == ((64, 64, 1), 16, 64, False, 2)
    small = DeviceProfile.shipped("edge-npu-8tops").with_on_chip(64 << 10)
    assert held_to(device, small).local_bytes == 32 << 10  # half of it: the other half is being filled
    assert held_to(device, DeviceProfile.shipped("pocl-cpu")).local_bytes == 256 << 10
    assert held_to(device, DeviceProfile.shipped("pocl-cpu")).width == 16  # no width: as the device tells
    assert held_to(device, DeviceProfile.shipped("opencl-gpu")).alignment == 128


def test_devices_have_usual_profiles():
    assert usual_profile(True).name == "pocl-cpu"
    assert usual_profile(False).name == "opencl-gpu"


@pytest.mark.parametrize("name", shipped_names())
def test_a_profile_in_words(name):
    profile = DeviceProfile.shipped(name)
    text = str(profile)
    assert text.startswith(f"{name}: {profile.description}")
    assert ("8-bit integers only" in text) is profile.int8_only
    for word in ("matrix unit", "on-chip memory", "transfers", "power"):
        assert word in text
