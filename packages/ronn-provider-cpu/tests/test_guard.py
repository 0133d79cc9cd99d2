"""Guard zones find every write that a kernel had no business with, and unwritten memory shows in results."""

from __future__ import annotations

import numpy as np
import pytest
from native_support import native_nodes
from test_engine import feed, network

import ronn
from ronn.errors import ProviderError
from ronn.ir.graph import Node, Value
from ronn.ir.types import DType, TensorType
from ronn.plan.plan import Plan
from ronn.provider import Call
from ronn.provider.native import At, KernelCall, NativeWork, Scratch
from ronn_provider_cpu.compiling import native_library, unusable
from ronn_provider_cpu.engine.native import engine

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())
N = 20


@pytest.fixture(scope="module", autouse=True)
def kernels():
    made = native_library()
    if made.missing(["engine_kernels"]):
        made.build_here("engine_kernels")


def value(name):
    return Value(name, TensorType(DType.INT32, (N,)))


def add_one(source, sink, *, name="add_one", shift=0, count=N, scratch=(), words=None, keep=()):
    """A call of the kernel that writes ``sink[i + shift] = source[i] + 1``."""
    address = native_library().address("engine_kernels", "add_one")
    given = [At(source), At(sink), count, shift] if words is None else words
    kernel = KernelCall(name, address, given)
    node = Node("AddOne", [source], [sink], version=1)
    node.name = f"node of {sink.name}"
    work = NativeWork(engine(native_library(), 1), [kernel], scratch, keep=keep)
    return Call(None, (source,), (sink,), (node,), native=work)


def plan(*calls, inputs, outputs):
    return Plan(calls, inputs, outputs, guard=True)


def test_kernels_that_keep_to_their_own_run_as_ever():
    x, a, b, y = map(value, "xaby")
    made = plan(add_one(x, a), add_one(a, b), add_one(b, y), inputs=[x], outputs=[y])
    for _ in range(3):
        np.testing.assert_array_equal(made.run([np.arange(N, dtype=np.int32)])[0], np.arange(N) + 3)


@pytest.mark.parametrize(
    ("shift", "text"), [(1, "4 bytes, the first of them 0 bytes behind the end of %b"), (-1, "4 bytes in front of %b")]
)
def test_a_stray_write_names_kernel_node_and_place(shift, text):
    x, a, b, y = map(value, "xaby")
    bad = add_one(a, b, name="oops", shift=shift)
    made = plan(add_one(x, a), bad, add_one(b, y), inputs=[x], outputs=[y])
    with pytest.raises(ProviderError, match=f"'oops' wrote .*{text}") as e:
        made.run([np.arange(N, dtype=np.int32)])
    assert e.value.node_label == "node of b"


def test_a_write_into_a_buffer_that_is_still_needed():
    def make(shift):
        x, a, b, y, z = map(value, "xabyz")
        bad = add_one(a, b, name="oops", shift=shift)
        made = plan(add_one(x, a), bad, add_one(b, y), add_one(a, z), inputs=[x], outputs=[y, z])
        storage = made.segments[0]._lifetimes.storage
        return made, (storage[a].offset - storage[b].offset) // 4

    _, distance = make(0)
    with pytest.raises(ProviderError, match=r"'oops' wrote .* into %a, from byte 0 on"):
        make(distance)[0].run([np.arange(N, dtype=np.int32)])


def test_a_write_behind_an_output():
    x, y = value("x"), value("y")
    made = plan(add_one(x, y, name="oops", shift=1), inputs=[x], outputs=[y])
    with pytest.raises(ProviderError, match="'oops' wrote 4 bytes, the first of them 0 bytes behind the end of %y"):
        made.run([np.arange(N, dtype=np.int32)])


def test_a_write_into_an_input_or_a_constant():
    x, y = value("x"), value("y")
    made = plan(add_one(x, y, words=[At(x), At(x), N, 0]), inputs=[x], outputs=[y])
    with pytest.raises(ProviderError, match="into %x, from byte 0 on"):
        made.run([np.arange(N, dtype=np.int32)])
    table = np.zeros(N, np.int32)
    words = [At(x), table.ctypes.data, N, 0]
    made = plan(add_one(x, y, words=words, keep=[table]), inputs=[x], outputs=[y])
    with pytest.raises(ProviderError, match="into a constant"):
        made.run([np.arange(N, dtype=np.int32)])


def test_a_write_behind_scratch_memory():
    x, y = value("x"), value("y")
    for size, fine in ((4 * N, True), (4 * N - 4, False)):
        made = plan(add_one(x, y, words=[At(x), Scratch(0), N, 0], scratch=[size]), inputs=[x], outputs=[y])
        if fine:
            made.run([np.arange(N, dtype=np.int32)])
        else:
            with pytest.raises(ProviderError, match="behind the end of its scratch memory"):
                made.run([np.arange(N, dtype=np.int32)])


def test_memory_that_was_not_written_shows():
    x, a, y = map(value, "xay")
    made = plan(add_one(x, a, count=N - 5), add_one(a, y), inputs=[x], outputs=[y])
    got = made.run([np.full(N, 7, np.int32)])[0]
    assert list(got) == [9] * (N - 5) + [0] * 5  # all bits set, and one added
    made = plan(add_one(x, y, count=N - 5), inputs=[x], outputs=[y])
    assert list(made.run([np.full(N, 7, np.int32)])[0]) == [8] * (N - 5) + [-1] * 5


def test_memory_that_is_no_longer_held_shows():
    x, a, b, c, y = map(value, "xabcy")
    late = add_one(b, c, words=[At(a), At(c), N, 0])  # reads %a without saying so
    made = plan(add_one(x, a), add_one(a, b), late, add_one(c, y), inputs=[x], outputs=[y])
    assert list(made.run([np.full(N, 7, np.int32)])[0]) == [1] * N


def test_sessions_give_the_same_bits_with_guards(monkeypatch):
    x = feed(0, rows=33)
    expected = ronn.Session(network(), providers=["cpu"], options={"threads": 2}).run(x)["y"]
    monkeypatch.setenv("RONN_GUARD", "1")
    session = ronn.Session(network(), providers=["cpu"], options={"threads": 2})
    for _ in range(2):
        np.testing.assert_array_equal(session.run(x)["y"], expected)
    assert native_nodes(session)
