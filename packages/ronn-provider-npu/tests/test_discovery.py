"""Devices: what is found, what cannot be used and why, and how a session chooses one. Platforms are fake where
real ones would not do."""

import subprocess
import sys

import numpy as np
import pyopencl as cl
import pytest
from npu_runs import one_node
from typer.testing import CliRunner

import ronn
from ronn.cli.app import make_app
from ronn.errors import OptionError
from ronn.provider import Device, Unavailable
from ronn_provider_npu import discovery


class FakeDevice:
    """What discovery asks of a device."""

    type = 4
    global_mem_size = 1 << 30
    platform = None

    def __init__(self, name, *, available=True, compiler=True, c="OpenCL C 1.2 x", lost=False):
        self._name, self.available, self.compiler_available = name, available, compiler
        self.opencl_c_version, self.version, self._lost = c, "OpenCL 3.0 x", lost

    @property
    def name(self):
        if self._lost:
            raise cl.RuntimeError("CL_DEVICE_NOT_AVAILABLE")
        return self._name


class FakePlatform:
    """What discovery asks of a platform."""

    def __init__(self, name, devices):
        self.name, self._devices = name, devices

    def get_devices(self):
        if self._devices is None:
            raise cl.RuntimeError("DEVICE_NOT_FOUND")
        return self._devices


@pytest.fixture
def platforms(monkeypatch):
    """Puts fake platforms in the place of what is installed."""

    def put(*given):
        monkeypatch.setattr(cl, "get_platforms", lambda: list(given))
        discovery.found.cache_clear()

    yield put
    discovery.found.cache_clear()


BROKEN = [
    FakeDevice("asleep", available=False),
    FakeDevice("mute", compiler=False),
    FakeDevice("good"),
    FakeDevice("old", c="OpenCL C 1.1 x"),
    FakeDevice("odd", c="?"),
    FakeDevice("gone", lost=True),
    FakeDevice("better"),
]


def test_every_device_is_usable_or_has_a_reason(platforms):
    platforms(FakePlatform("Works", BROKEN), FakePlatform("Empty", []), FakePlatform("Fails", None))
    assert [f.name for f in discovery.usable()] == ["opencl:0", "opencl:1"]
    assert discovery.usable()[0].description == "good (Works, OpenCL 3.0 x, 1.1 GB)"
    told = discovery.unusable()
    assert "not available" in told["asleep of Works"]
    assert "no compiler" in told["mute of Works"]
    assert "OpenCL C 1.1, and 1.2 is needed" in told["old of Works"]
    assert "'?'" in told["odd of Works"]
    assert "does not tell what it is" in told["a device of Works"]
    assert "no device" in told["Empty"] and "no device" in told["Fails"]


def test_nothing_usable_says_what_is_wrong_with_each(platforms):
    platforms(FakePlatform("Works", BROKEN[:2]))
    with pytest.raises(Unavailable, match=r"asleep: .*not available; mute: .*no compiler.*ronn-provider-npu\[pocl\]"):
        discovery.usable()
    platforms()
    with pytest.raises(Unavailable, match="no OpenCL platform is installed"):
        discovery.usable()


def test_a_loader_without_platforms_is_a_reason(platforms, monkeypatch):
    def none():
        raise cl.LogicError("PLATFORM_NOT_FOUND_KHR")

    platforms()
    monkeypatch.setattr(cl, "get_platforms", none)
    with pytest.raises(Unavailable, match=r"no OpenCL platform is installed.*PLATFORM_NOT_FOUND_KHR"):
        discovery.usable()


def test_without_pyopencl_it_says_what_to_install(platforms, monkeypatch):
    platforms()
    monkeypatch.setitem(sys.modules, "pyopencl", None)
    with pytest.raises(Unavailable, match="pip install pyopencl"):
        discovery.usable()


@pytest.mark.parametrize(("wanted", "name"), [(None, "opencl:0"), ("", "opencl:0"), (1, "opencl:1"), ("1", "opencl:1"),
                                              ("opencl:1", "opencl:1"), ("BETTER", "opencl:1")])  # fmt: skip
def test_a_device_is_chosen_by_number_name_or_description(wanted, name):
    given = [Device("opencl:0", "good thing"), Device("opencl:1", "better thing")]
    assert discovery.choose(wanted, given).name == name


@pytest.mark.parametrize(("wanted", "told"), [(7, "is no device"), ("thing", "names several devices")])
def test_a_wrong_choice_says_what_there_is(wanted, told):
    given = [Device("opencl:0", "good thing"), Device("opencl:1", "better thing")]
    with pytest.raises(OptionError, match=rf"{told}(.|\n)*opencl:0 good thing; opencl:1 better thing"):
        discovery.choose(wanted, given)


def test_sessions_run_on_the_device_that_they_name():
    model, given = one_node("Relu", [np.array([-1, 2], np.float32)])
    for found in discovery.usable():
        s = ronn.Session(model, providers=[("npu", {"device": found.name})])
        assert s.run(given)["y0"].tolist() == [0, 2]
        assert s.placement().rows[0].provider == "npu"
    with pytest.raises(OptionError, match=r"is no device(.|\n)*opencl:0"):
        ronn.Session(model, providers=[("npu", {"device": "no such thing"}), "cpu"])


def test_the_command_line_lists_devices_and_reasons(monkeypatch):
    monkeypatch.setattr(discovery, "unusable", lambda: {"asleep of Works": "it sleeps"})
    result = CliRunner().invoke(make_app(), ["providers"], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert "opencl:0" in result.output and "asleep of Works: it sleeps" in result.output


def test_looking_for_devices_imports_nothing_before_and_leaves_the_environment_as_it_was():
    code = (
        "import os, sys; before = dict(os.environ); import ronn_provider_npu.provider as p; "
        "assert 'pyopencl' not in sys.modules; p.NpuProvider().devices(); "
        "assert 'pyopencl' in sys.modules and dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
