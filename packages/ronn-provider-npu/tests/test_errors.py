"""What fails on a device: the error names device, kernel and node, and a provider listed behind goes on. Launchers are
fake: they lose the device or run out of memory when they are told to."""

import multiprocessing
import os
import warnings

import numpy as np
import pyopencl as cl
import pytest
from onnx import parser

import ronn
from ronn import events
from ronn.errors import DeviceLostError, ExecutionError, MemoryLimitError, ProviderError, ProviderWarning
from ronn.plugins import registry
from ronn.provider import Device
from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.launcher import Launcher, Queue
from ronn_codegen.clike.opencl import OpenCL
from ronn_codegen.clike.provider import ClikeProvider
from ronn_provider_npu import discovery
from ronn_provider_npu.failures import failure
from ronn_provider_npu.launcher import OpenCLLauncher

TEXT = """<ir_version: 9, opset_import: ["" : 18]>
g (float[N] x) => (float[N] y) <int64 i = {0}, float[1] w = {2}> { a = Exp(x) b = CumSum(a, i) y = Mul(b, w) }"""
X = np.linspace(-1, 1, 50, dtype=np.float32)
WANT = 2 * np.cumsum(np.exp(X))


class FakeLauncher(OpenCLLauncher):
    """A real device that fails where ``fails`` says: at ``allocate``, ``build``, ``write``, or the ``launch`` numbered
    so."""

    def __init__(self):
        super().__init__(discovery.usable()[0].device, Target(OpenCL()))
        self.fails, self.error, self.launched = "", None, 0

    def at(self, what):
        if self.fails == what:
            raise self.error

    def allocate(self, nbytes):
        self.at("allocate")
        return super().allocate(nbytes)

    def build(self, sources, params):
        self.at("build")
        return super().build(sources, params)

    def queue(self):
        return FakeQueue(self, super().queue())


class FakeQueue(Queue):
    """Passes on what it is given, up to where its launcher fails."""

    def __init__(self, launcher, real):
        super().__init__(launcher)
        self.real = real

    def __getattribute__(self, name):
        if name in ("read", "wait", "failed", "finish", "clock", "timeline", "close"):
            return getattr(object.__getattribute__(self, "real"), name)
        return object.__getattribute__(self, name)

    def write(self, place, array):
        self._launcher.at("write")
        return self.real.write(place, array)

    def bind(self, entry, arguments, grid):
        launch = self.real.bind(entry, arguments, grid)

        def counted(after):
            self._launcher.launched += 1
            self._launcher.at(f"launch {self._launcher.launched}")
            return launch(after)

        return counted


class FakeProvider(ClikeProvider):
    """Devices that fail."""

    name = "failing"

    def __init__(self):
        super().__init__()
        self.made = FakeLauncher()

    def devices(self):
        return [Device("failing:0")]

    def launcher(self, device, options) -> Launcher:
        return self.made


LOST = DeviceLostError("the device was lost", hint="look for it")
FULL = MemoryLimitError("the device is full", hint="use less")


@pytest.fixture
def device():
    provider = FakeProvider()
    registry().add(provider)
    yield provider.made
    registry().remove("failing")


def session(*providers):
    return ronn.Session(parser.parse_model(TEXT), providers=list(providers))


def fail(device, where, error):
    device.fails, device.error, device.launched = where, error, 0


@pytest.mark.parametrize("where", ["write", "launch 1", "launch 2", "allocate"])
@pytest.mark.parametrize("error", [LOST, FULL])
def test_without_another_provider_the_error_is_raised(device, where, error):
    s = session("failing")
    s.run(X)
    s.trim()
    fail(device, where, error)
    with pytest.raises(type(error)) as e:
        s.run(X)
    assert error.message in str(e.value) and e.value.hint
    assert e.value.node_label
    if where == "launch 2":
        assert "at or before kernel" in str(e.value)
    fail(device, "", None)
    np.testing.assert_allclose(s.run(X)["y"], WANT, rtol=1e-5)


def test_a_lost_device_hands_over_for_good(device):
    s = session("failing", "cpu")
    np.testing.assert_allclose(s.run(X)["y"], WANT, rtol=1e-5)
    fail(device, "launch 1", LOST)
    told = []
    with (
        events.subscribe(told.append, kinds=[events.ProviderFellBack]),
        pytest.warns(ProviderWarning, match=r"failing failed, cpu goes on with 3 nodes: .*lost"),
    ):
        np.testing.assert_allclose(s.run(X)["y"], WANT, rtol=1e-5)
    assert [(e.provider, e.to, e.nodes) for e in told] == [("failing", "cpu", 3)]
    assert {r.provider for r in s.placement().rows} == {"cpu"}
    launched = device.launched
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(s.run(X)["y"], WANT, rtol=1e-5)
    assert device.launched == launched


def test_a_full_device_hands_over_for_a_run(device):
    s = session("failing", "cpu")
    s.run(X)
    s.trim()
    fail(device, "allocate", FULL)
    with pytest.warns(ProviderWarning, match="the device is full"):
        np.testing.assert_allclose(s.run(X)["y"], WANT, rtol=1e-5)
    fail(device, "", None)
    s.run(X)
    assert device.launched > 0


def test_nobody_goes_on_who_was_not_listed(device):
    s = session("failing", "npu")  # an unlisted CPU provider is installed
    s.run(X)
    fail(device, "launch 1", LOST)
    with pytest.warns(ProviderWarning, match="npu goes on"):
        s.run(X)


@pytest.mark.parametrize("error", [ProviderError("it does not compile"), LOST, FULL])
def test_a_part_that_cannot_be_compiled_goes_to_the_next(device, error):
    fail(device, "build", error)
    with pytest.raises(type(error), match=error.message):
        session("failing").run(X)
    with pytest.warns(ProviderWarning, match="cpu goes on"):
        s = session("failing", "cpu")
        np.testing.assert_allclose(s.run(X)["y"], WANT, rtol=1e-5)


def test_memory_of_idle_runs_is_given_back_before_a_run_is_refused(device):
    first, second = session("failing"), session("failing")
    first.run(X), second.run(X)
    second.trim()
    real, calls = OpenCLLauncher.allocate, []

    def once(nbytes):
        calls.append(nbytes)
        if len(calls) == 1:
            raise FULL
        return real(device, nbytes)

    device.allocate = once
    second.run(X)
    assert first.memory().arenas == 0


@pytest.mark.parametrize(("code_name", "kind"), [
    ("MEM_OBJECT_ALLOCATION_FAILURE", MemoryLimitError), ("OUT_OF_RESOURCES", MemoryLimitError),
    ("OUT_OF_HOST_MEMORY", MemoryLimitError), ("DEVICE_NOT_AVAILABLE", DeviceLostError),
    ("INVALID_CONTEXT", DeviceLostError), ("INVALID_KERNEL_ARGS", ExecutionError),
])  # fmt: skip
def test_codes_of_opencl_have_kinds(code_name, kind):
    class FakeError(cl.Error):
        code = getattr(cl.status_code, code_name)

    made = failure("acme", FakeError(), "kernel 'k'")
    assert type(made) is kind
    assert "acme" in made.message and code_name in made.message and "kernel 'k'" in made.message


def test_a_kernel_that_finds_a_bad_index_names_its_node():
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (float[4] x, int64[2] k) => (float[2] y) { y = Gather(x, k) }'
    )
    s = ronn.Session(model, providers=["npu"])
    x = np.arange(4, dtype=np.float32)
    with pytest.raises(ExecutionError, match=r"Gather failed(.|\n)*Gather->%y"):
        s.run([x, np.array([1, 9])])
    assert s.run([x, np.array([1, 3])])["y"].tolist() == [1, 3]


def _child(pipe, s):
    try:
        s.run(X)
        pipe.send("it ran")
    except Exception as e:
        pipe.send(f"{type(e).__name__}: {e}")
    try:
        session("npu")
        pipe.send("it was made")
    except Exception as e:
        pipe.send(f"{type(e).__name__}: {e}")
    fallen = session("npu", "cpu")
    pipe.send(float(np.abs(fallen.run(X)["y"] - WANT).max()))
    pipe.close()
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore")
def test_children_of_a_process_that_used_opencl_are_told():
    s = session("npu")
    s.run(X)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_child, args=(there, s))
    child.start()
    told = [here.recv() if here.poll(60) else "nothing came" for _ in range(3)]
    child.join(60)
    assert told[0].startswith("DeviceLostError") and "before this process was forked" in told[0]
    assert told[1].startswith("ProviderError") and "before this process was forked" in told[1]
    assert told[2] < 1e-3
    np.testing.assert_allclose(s.run(X)["y"], WANT, rtol=1e-5)
