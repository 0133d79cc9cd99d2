"""Plans compute what a plain evaluation computes, whatever shares memory with what."""

import ctypes
import itertools
import os
import signal
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn.errors import ExecutionError, ProviderError
from ronn.ir.graph import Node, Value
from ronn.ir.types import DType, TensorType
from ronn.plan.frame import make_arena
from ronn.plan.lifetime import analyse
from ronn.plan.memory import align, place
from ronn.plan.plan import Plan
from ronn.provider import Call
from ronn.provider.native import Counted, Engine, KernelCall, NativeWork, Scratch

F32 = DType.FLOAT32


def value(name, shape=(4, 4)):
    return Value(name, TensorType(F32, shape))


def add(a, b, out=None):
    return np.add(a, b, out=out)


def relu(a, out=None):
    return np.maximum(a, 0, out=out)


def call(fn, inputs, outputs, **kw):
    return Call(fn, tuple(inputs), tuple(outputs), (Node("Test", inputs, outputs, version=1),), **kw)


KINDS = {
    "add": (2, add, {"into": True, "inplace": (0, 1)}),
    "relu": (1, relu, {"into": True, "inplace": (0,)}),
    "sub": (2, lambda a, b, out=None: np.subtract(a, b, out=out), {"into": True}),
    "transpose": (1, lambda a: a.T, {}),
    "reverse": (1, lambda a: a[:, ::-1], {"view_of": {0: 0}}),
    "flip": (1, lambda a: a[::-1], {}),
    "fresh": (1, lambda a: a * 2, {}),
}


@st.composite
def programs(draw):
    n_inputs = draw(st.integers(1, 3))
    n_calls = draw(st.integers(1, 14))
    steps = []
    for i in range(n_calls):
        kind = draw(st.sampled_from(sorted(KINDS)))
        args = [draw(st.integers(0, n_inputs + i - 1)) for _ in range(KINDS[kind][0])]
        steps.append((kind, args))
    outputs = draw(st.lists(st.integers(0, n_inputs + n_calls - 1), min_size=1, max_size=4))
    return n_inputs, steps, outputs


@settings(max_examples=300, deadline=None)
@given(programs(), st.integers(0, 2**31))
def test_random_programs_agree_with_plain_evaluation(program, seed):
    n_inputs, steps, outputs = program
    values = [value(f"v{i}") for i in range(n_inputs + len(steps))]
    calls = []
    for i, (kind, args) in enumerate(steps):
        _, fn, traits = KINDS[kind]
        calls.append(call(fn, [values[a] for a in args], [values[n_inputs + i]], **traits))
    plan = Plan(calls, values[:n_inputs], [values[o] for o in outputs])
    rng = np.random.default_rng(seed)
    for _ in range(2):
        feeds = [rng.standard_normal((4, 4)).astype(np.float32) for _ in range(n_inputs)]
        expected = [f.copy() for f in feeds]
        for kind, args in steps:
            expected.append(np.array(KINDS[kind][1](*(expected[a] for a in args))))
        got = plan.run(feeds)
        for o, g in zip(outputs, got, strict=True):
            np.testing.assert_array_equal(g, expected[o])
        for i, f in enumerate(feeds):
            np.testing.assert_array_equal(f, expected[i])


def chain(n):
    values = [value(f"v{i}") for i in range(n + 1)]
    calls = [call(relu, [values[i]], [values[i + 1]], into=True, inplace=(0,)) for i in range(n)]
    return calls, values


def test_a_chain_in_place_needs_one_buffer():
    calls, values = chain(10)
    plan = Plan(calls, values[:1], values[-1:])
    assert plan.arena_size == align(4 * 4 * 4)


def test_storages_that_live_at_once_never_overlap():
    values = [value(f"v{i}", (i + 1, 3)) for i in range(6)]
    calls = [call(relu, [values[0]], [v], into=True) for v in values[1:]]
    calls.append(call(lambda *a: a[0].sum(), values[1:], [value("out", ())]))
    lifetimes = analyse(calls, values[:1], calls[-1].outputs)
    storages = lifetimes.arena_storages()
    assert len(storages) == 5
    total = place(storages)
    spans = sorted((s.offset, s.offset + s.size) for s in storages)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert spans[-1][1] <= total


def test_two_threads_do_not_disturb_each_other():
    calls, values = chain(30)
    calls = list(calls[:-1]) + [call(add, [values[29], values[0]], [values[30]], into=True)]
    plan = Plan(calls, values[:1], values[-1:])
    bad = []

    def work(k):
        x = np.full((4, 4), k, np.float32)
        for _ in range(300):
            if not (plan.run([x])[0] == 2 * k).all():
                bad.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad


def test_a_failing_kernel_is_named_with_what_it_got():
    def broken(a):
        raise ValueError("no such thing")

    x, y = value("x"), value("y")
    plan = Plan([call(broken, [x], [y])], [x], [y])
    with pytest.raises(ExecutionError) as e:
        plan.run([np.zeros((4, 4), np.float32)])
    assert "no such thing" in str(e.value) and "%x = float32[4, 4]" in str(e.value)
    assert isinstance(e.value.__cause__, ValueError)
    with pytest.raises(ExecutionError):  # still usable, still failing the same way
        plan.run([np.zeros((4, 4), np.float32)])


def test_a_kernel_must_fill_out():
    x, y, z = value("x"), value("y"), value("z")
    calls = [call(lambda a, out=None: a + 1, [x], [y], into=True), call(relu, [y], [z], into=True)]
    with pytest.raises(ProviderError, match="out="):
        Plan(calls, [x], [z]).run([np.zeros((4, 4), np.float32)])


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.float64), np.zeros((4, 3), np.float32), "text"])
def test_checked_runs_catch_wrong_types(wrong):
    x, y = value("x"), value("y")
    plan = Plan([call(lambda a: wrong, [x], [y])], [x], [y], check=True)
    with pytest.raises(ProviderError, match="returned"):
        plan.run([np.zeros((4, 4), np.float32)])


def test_trim_gives_idle_frames_back():
    calls, values = chain(3)
    plan = Plan(calls, values[:1], values[-1:])
    plan.run([np.zeros((4, 4), np.float32)])
    assert len(plan._idle) == 1
    plan.trim()
    assert not plan._idle


def test_missing_inputs_reach_the_kernel_as_none():
    x, y = value("x"), value("y")
    seen = []
    plan = Plan([call(lambda a, b, c: seen.append((b, c is a)) or a, [x, None, x], [y])], [x], [y])
    plan.run([np.zeros((4, 4), np.float32)])
    assert seen == [(None, True)]


class Finder(Engine):
    """Its kernels put ``rows`` rows of two float32 where their first word points, and their number at the second."""

    def launch(self, steps, clock=None):
        for _, block, _ in steps:
            memory, count = (ctypes.c_int64 * 2).from_address(int(block))
            numbers = np.arange(2 * min(self.rows, 6), dtype=np.float32)
            ctypes.memmove(memory, numbers.ctypes.data, numbers.nbytes)
            ctypes.c_int64.from_address(count).value = self.rows


@pytest.mark.parametrize("guard", [False, True])
def test_a_kernel_may_find_out_how_large_its_output_is(guard):
    engine = Finder()
    x, y, z = value("x"), Value("y", TensorType(F32, (None, 2))), Value("z", TensorType(F32, (None, 2)))
    kernel = KernelCall("find", 0, [Scratch(0), Scratch(1)])
    work = NativeWork(engine, [kernel], [48, 8], counted={0: Counted(0, (None, 2), 1)})
    plan = Plan([call(None, [x], [y], native=work), call(lambda a: a * 2, [y], [z])], [x], [y, z], guard=guard)
    results = []
    for engine.rows in (3, 0, 6):
        got, doubled = plan.run([np.zeros((4, 4), np.float32)])
        np.testing.assert_array_equal(got, np.arange(2 * engine.rows).reshape(-1, 2))
        np.testing.assert_array_equal(doubled, 2 * got)
        results.append((got, got.copy()))
    for got, before in results:  # later runs leave what earlier ones gave alone
        np.testing.assert_array_equal(got, before)
    engine.rows = 7
    with pytest.raises(ProviderError, match=r"made %y \[7, 2\], which it has no room for"):
        plan.run([np.zeros((4, 4), np.float32)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("size", [1 << 12, 1 << 20, 16 << 20])
def test_a_forked_child_writes_into_an_arena_of_its_own(size):
    arena = make_arena(size)
    arena[:] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        arena[:] = 2
        os._exit(0 if (arena == 2).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (arena == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_plan_that_nobody_lists_any_more_can_be_run_in_a_forked_child():
    """One that a thread of the parent was giving back when the process forked."""
    x, y = value("x"), value("y")
    plan = Plan([Call(np.negative, (x,), (y,), ())], [x], [y])
    plan._lock.acquire()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if (plan.run([np.ones((4, 4), np.float32)])[0] == -1).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
