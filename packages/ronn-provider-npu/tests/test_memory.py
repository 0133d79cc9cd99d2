"""Memory of the device: accounted for, given back, limited, guarded."""

import gc
import weakref

import numpy as np
import pytest
from npu_runs import one_node
from onnx import parser

import ronn
from ronn.errors import MemoryLimitError, ProviderError, ProviderWarning
from ronn_codegen.clike import program as clike_program
from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.program import Program
from ronn_provider_npu import provider

TWO = """<ir_version: 9, opset_import: ["" : 18]>
g (float[N] x) => (float[N] y) { a = Exp(x) y = Mul(a, x) }"""
X = np.linspace(-1, 1, 1000, dtype=np.float32)


def session(text=TWO, providers=("npu",), **options):
    return ronn.Session(parser.parse_model(text), providers=list(providers), options=options)


@pytest.fixture
def programs(monkeypatch):
    """The programs that are made."""
    made = []
    build = Program.__init__
    monkeypatch.setattr(Program, "__init__", lambda self, *args: (build(self, *args), made.append(self))[0])
    return made


def weighted():
    weights = np.arange(5000, dtype=np.float32)
    return one_node("Add", [X[:1].repeat(5000), weights], fixed=(1,))


def test_what_lies_on_the_device_is_part_of_what_a_session_holds():
    model, given = weighted()
    s = ronn.Session(model, providers=["npu"])
    s.run(given)
    held = s.memory()
    assert held.packed >= 20_000 and held.idle >= 40_000
    assert held.device == held.packed + held.arenas
    assert "on devices" in str(held)
    s.trim()
    after = s.memory()
    assert after.arenas == after.idle == 0 and after.packed == held.packed
    assert s.run(given)["y0"][7] == 6  # -1 + 7


def test_programs_share_constants_and_give_them_back_with_the_last_of_them(programs):
    model, given = weighted()
    loaded = ronn.load(model)
    first, second = (ronn.Session(loaded, providers=["npu"]) for _ in range(2))
    first.run(given), second.run(given)
    one, other = (next(iter(p.held().constants)) for p in programs)
    assert one == other
    first.close(), second.close()
    held = weakref.ref(next(iter(programs[0]._constants.values())))
    programs.clear()
    del first, second
    gc.collect()
    assert held() is None


def test_the_host_may_let_go_of_constants():
    model, given = weighted()
    s = ronn.Session(model, providers=["npu"])
    want = s.run(given)["y0"]
    del model
    gc.collect()
    s.trim()
    np.testing.assert_array_equal(s.run(given)["y0"], want)


def test_a_closed_session_holds_nothing(programs):
    s = session()
    s.run(X)
    s.close()
    assert [(p.held().arenas, p.held().idle) for p in programs] == [(0, 0)]


def test_frames_are_taken_again(programs):
    s = session()
    for _ in range(5):
        s.run(X)
    assert programs[0].held().arenas == programs[0].held().idle == 1


def test_the_limit_of_a_session_counts_the_device():
    s = session(memory_limit="1MB")
    s.run(X)
    with pytest.raises(MemoryLimitError, match="memory_limit"):
        s.run(np.zeros(200_000, np.float32))


def test_what_is_larger_than_the_device_allocates_at_once_is_refused(monkeypatch):
    s = session()
    s.run(X)
    for launcher in provider._launchers.values():
        monkeypatch.setattr(launcher, "largest", 4096)
    with pytest.raises(MemoryLimitError, match=r"allocates at most 4.1 kB(.|\n)*largest  %(.|\n)*another provider"):
        s.run(np.zeros(2000, np.float32))
    np.testing.assert_allclose(s.run(X)["y"], np.exp(X) * X, rtol=1e-6)


def test_what_is_too_large_runs_elsewhere_where_that_is_listed(monkeypatch):
    s = session(providers=("npu", "cpu"))
    s.run(X)
    for launcher in provider._launchers.values():
        monkeypatch.setattr(launcher, "largest", 4096)
    x = np.linspace(-1, 1, 2000, dtype=np.float32)
    with pytest.warns(ProviderWarning, match="npu failed, cpu goes on with 2 nodes"):
        y = s.run(x)["y"]
    np.testing.assert_allclose(y, np.exp(x) * x, rtol=1e-6)


def test_guard_zones_find_stray_writes(monkeypatch):
    monkeypatch.setenv("RONN_GUARD", "1")
    s = session()
    np.testing.assert_allclose(s.run(X)["y"], np.exp(X) * X, rtol=1e-6)
    real = clike_program.kernel_of

    def stray(generated):
        made = real(generated)
        form = ", ".join(f"{p.name}: {p.kind}" for p in made.params)
        last = next(p.name for p in reversed(made.params) if p.is_array)
        body = f"    if (GLOBAL_ID(0) == 0) {{ {last}[-8] = 1; }}"
        return Template(f"stray({form})", body, tiles=lambda sizes, target: made.grid(sizes, target))

    monkeypatch.setattr(clike_program, "kernel_of", stray)
    with pytest.raises(ProviderError, match=r"kernel 'stray' wrote .* bytes in front of"):
        session().run(X)
