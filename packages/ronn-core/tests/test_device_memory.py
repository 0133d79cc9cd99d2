"""The compiler door and devices with memory of their own: a fake device, beside the reference, through sessions."""

import numpy as np
import onnx
import pytest

import ronn
from ronn.errors import OptionError, ProviderError
from ronn.plugins import registry
from ronn.provider import Allocator, Call, CompiledPart, Device, No, Provider, Yes
from ronn.records import dataclass


@dataclass
class FakeBuffer:
    """An array that the host must not touch."""

    hidden: np.ndarray


class FakeMemory(Allocator):
    def __init__(self):
        self.moved = []

    def to_device(self, array):
        assert isinstance(array, np.ndarray)
        self.moved.append("in")
        return FakeBuffer(array.copy())

    def to_host(self, buffer):
        assert isinstance(buffer, FakeBuffer)
        self.moved.append("out")
        return buffer.hidden.copy()


class FakeDevice(Provider):
    """Compiles a whole part of Relu, Neg and Add into one call."""

    name = "fake"
    OPS = {"Relu": lambda x: np.maximum(x, 0), "Neg": np.negative, "Add": np.add}

    def __init__(self):
        self.memory = FakeMemory()
        self.parts = []
        self.closed = 0

    def devices(self):
        return [Device("fake:0", memory="fake", allocator=self.memory)]

    def supports(self, node, device):
        return Yes() if node.op in self.OPS else No(f"no {node.op} here")

    def compile(self, part, device, options):
        self.parts.append([n.op for n in part.nodes])

        def run(*buffers):
            known = dict(zip(part.inputs, buffers, strict=True))
            for node in part.nodes:
                args = [v.data if v.is_const else known[v].hidden for v in node.inputs]
                known[node.output] = FakeBuffer(np.asarray(self.OPS[node.op](*args)))
            out = [known[v] for v in part.outputs]
            return out[0] if len(out) == 1 else out

        def close():
            self.closed += 1

        return CompiledPart([Call(run, part.inputs, part.outputs, part.nodes)], close)


@pytest.fixture
def fake():
    provider = FakeDevice()
    registry().add(provider)
    yield provider
    registry().remove("fake")


def session(text, **kw):
    return ronn.Session(onnx.parser.parse_model(text), providers=["fake", "reference"], **kw)


MIXED = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (float[N] x) => (float[N] y, float[N] z) <float[1] one = {1}> {
        a = Relu(x)
        b = Add(a, one)
        c = Exp(b)
        d = Neg(b)
        y = Add(c, d)
        z = Neg(a)
    }"""


def test_parts_run_on_the_device_and_copies_are_explicit(fake):
    s = session(MIXED, options={"optimization": "basic"})
    x = np.array([-1, 0.5, 2], np.float32)
    for _ in range(2):
        y, z = s.run(x)
        a = np.maximum(x, 0)
        np.testing.assert_allclose(y, np.exp(a + 1) - (a + 1), rtol=1e-6)
        np.testing.assert_array_equal(z, -a)
    assert fake.parts[-2:] == [["Relu", "Add", "Neg", "Neg"], ["Add"]]
    assert s.placement().counts() == {"fake": 5, "ronn": 5, "reference": 1}
    copies = [(r.device, r.reason) for r in s.placement().copies()]
    assert ("fake", "copy from host to fake") in copies and ("host", "copy from fake to host") in copies
    assert sorted(fake.memory.moved) == ["in"] * 4 + ["out"] * 6  # two runs: x and c go in; b, y and z come out
    s.close()
    assert fake.closed == len(fake.parts) > 0


def test_branches_get_what_they_capture_on_the_host(fake):
    s = session("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[N] x, bool c) => (float[N] y) {
            a = Relu(x)
            y = If (c) <then_branch = t () => (float[N] p) { p = Neg(a) },
                        else_branch = e () => (float[N] q) { q = Exp(a) }>
        }""")
    x = np.array([-1, 2], np.float32)
    np.testing.assert_array_equal(s.run({"x": x, "c": np.array(True)})["y"], [0, -2])
    np.testing.assert_allclose(s.run({"x": x, "c": np.array(False)})["y"], np.exp([0, 2]), rtol=1e-6)


def test_a_device_alone_is_strict(fake):
    with pytest.raises(ronn.PlacementError, match="no Exp here"):
        ronn.Session(onnx.parser.parse_model(MIXED), providers=["fake"])


def test_memory_without_an_allocator_is_the_provider_s_fault(fake, monkeypatch):
    monkeypatch.setattr(type(fake), "devices", lambda self: [Device("fake:0", memory="fake")])
    with pytest.raises(ProviderError, match="allocator"):
        session(MIXED).run(np.zeros(2, np.float32))


class Narrow(Provider):
    """Has two devices; what it takes depends on an option that the device carries."""

    name = "narrow"
    options = {"device": "narrow:0", "takes": "Relu"}

    @dataclass(frozen=True)
    class Chosen(Device):
        takes: str = ""

    def devices(self):
        return [Device("narrow:0"), Device("narrow:1")]

    def device_for(self, options, devices):
        found = next((d for d in devices if d.name == options["device"]), None)
        if found is None:
            raise OptionError(f"there is no device {options['device']!r}")
        return self.Chosen(found.name, takes=options["takes"])

    def supports(self, node, device):
        return Yes() if node.op == device.takes else No(f"{device.name} takes {device.takes}")

    def compile(self, part, device, options):
        return CompiledPart([Call(np.abs, n.inputs, n.outputs, (n,)) for n in part.nodes])


def test_options_choose_the_device_that_claims_go_by():
    registry().add(Narrow())
    try:
        model = onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { a = Neg(x) y = Abs(a) }'
        )
        ask = {"device": "narrow:1", "takes": "Abs"}
        placed = ronn.Session(model, providers=[("narrow", ask), "reference"]).placement()
        assert [(r.op, r.provider) for r in placed.rows] == [("Neg", "reference"), ("Abs", "narrow")]
        assert "narrow:1 takes Abs" in placed.rows[0].reason
        with pytest.raises(OptionError, match="no device 'narrow:7'"):
            ronn.Session(model, providers=[("narrow", {"device": "narrow:7"}), "reference"])
    finally:
        registry().remove("narrow")


class Sized(Provider):
    """Takes what has a known size, and computes Reshape alone."""

    name = "sized"
    wants_sizes = True

    def supports(self, node, device):
        if node.op != "Reshape":
            return No("only Reshape")
        return Yes() if node.outputs[0].tensor.is_static else No("its size is found out while it runs", later=True)

    def compile(self, part, device, options):
        (node,) = part.nodes
        shape = node.outputs[0].tensor.static_shape
        given = (node.inputs[0],)
        return CompiledPart([Call(lambda x: x.reshape(shape).copy(), given, node.outputs, (node,))])


@pytest.fixture
def sized():
    registry().add(Sized())
    yield
    registry().remove("sized")


RESHAPED = '<ir_version: 9, opset_import: ["" : 18]> g (float[N] x, int64[K] s) => (float y) { y = Reshape(x, s) }'


def test_a_node_is_placed_when_its_sizes_are_known(sized):
    session = ronn.Session(onnx.parser.parse_model(RESHAPED), providers=["sized"])
    x = np.arange(12, dtype=np.float32)
    for shape in ([3, 4], [2, -1], [1, 2, 6]):
        np.testing.assert_array_equal(session.run([x, np.array(shape)])[0], x.reshape(shape))
    assert [r.provider for r in session.placement().rows] == ["sized"]


def test_a_node_that_waits_for_its_sizes_goes_to_who_takes_it_now(sized):
    session = ronn.Session(onnx.parser.parse_model(RESHAPED), providers=["sized", "reference"])
    row = session.placement().rows[0]
    assert row.provider == "reference" and "found out while it runs" in row.reason
