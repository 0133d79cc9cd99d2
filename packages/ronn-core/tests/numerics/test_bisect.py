"""``ronn.bisect``: passes and kernels that are wrong on purpose are named; what is right is left in peace."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ronn
from ronn.ir.graph import Graph, IRModel, Node
from ronn.ir.text import parse
from ronn.model import Model
from ronn.numerics.apart import apart, can_fork
from ronn.passes import pipelines
from ronn.passes.manager import PassContext, define_pass
from ronn.plugins import registry
from ronn.provider import KernelProvider, kernel

TEXT = """opset {"": 18}
graph g(%x: f32[2,4]) {
  %two: f32[] = const {2.0}
  %a = Exp(%x)  # name="first"
  %b = Mul(%a, %two)  # name="second"
  %c = Sin(%b)  # name="third"
  %d = Add(%c, %a)  # name="fourth"
  %e = Tanh(%d)  # name="fifth"
  %y = Neg(%e)  # name="sixth"
  return %y
}
"""
X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def model(text: str = TEXT) -> Model:
    return Model(IRModel(parse(text), {"": 18}, source="made"))


Fault = Callable[[Node, PassContext], None]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], None]:
    """Adds a pass ``spoil``, which reports a rewrite of each node, and does harm to the third."""

    def add(fault: Fault) -> None:
        @define_pass("spoil", requires_types=True)
        def spoil(graph: Graph, context: PassContext) -> bool:
            changed = False
            for node in graph:
                if "seen" in node.attributes or node.name == "" or not context.may_rewrite():
                    continue
                context.at = node
                if "spoil" in node.tags:
                    continue
                if node.name == "third":
                    fault(node, context)
                context.rewrote([node], detail=node.label)
                changed = True
            return changed

        full = pipelines._PIPELINES["full"]
        made = {**pipelines._PIPELINES, "full": {**full, "portable": (*full["portable"], spoil)}}
        monkeypatch.setattr(pipelines, "_PIPELINES", made)
        pipelines.all_passes.cache_clear()

    yield add
    pipelines.all_passes.cache_clear()


def becomes_cos(node: Node, context: PassContext) -> None:
    node.op = "Cos"


def becomes_nan(node: Node, context: PassContext) -> None:
    node.op = "Log"  # of a number below zero
    assert node.graph is not None
    minus = node.graph.constant(np.array(-1, np.float32))
    producer = node.inputs[0].producer if node.inputs[0] is not None else None
    assert producer is not None
    producer.set_input(1, minus)


def fails(node: Node, context: PassContext) -> None:
    raise KeyError("no such thing")


def test_nothing_to_find() -> None:
    found = ronn.bisect(model(), {"x": X}, providers=["reference"])
    assert found.verdict == "equal" and not found.found and found.pass_name is None and found.runs == 1
    assert "nothing to find" in str(found)
    with pytest.raises(ronn.OptionError, match="nothing to reproduce"):
        found.save_repro("never.onnx")


@pytest.mark.parametrize("fault", [becomes_cos, becomes_nan])
def test_a_rewrite(broken: Callable[[Fault], None], fault: Fault) -> None:
    broken(fault)
    found = ronn.bisect(model(), {"x": X}, providers=["reference"])
    assert (found.verdict, found.pass_name, found.rewrite, found.rewrites) == ("pass", "spoil", 3, 6)
    assert found.node == ("third" if fault is becomes_cos else "second") and "third" in found.nodes
    assert any("Sin(" in line for line in found.before) and not any("Sin(" in line for line in found.after)
    assert any("--disable-pass spoil" in line and "numbers are right" in line for line in found.advice)
    if fault is becomes_nan:
        assert found.difference is not None and found.difference.not_finite == 8 and "NaN" in found.difference.reason
    text = str(found)
    assert "RONN_PASS_LIMIT=3 is wrong, 2 is right" in text and "spoil" in text


def test_the_limit_of_the_environment_counts_the_same(
    broken: Callable[[Fault], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(becomes_cos)
    results = []
    for limit in ("2", "3"):
        monkeypatch.setenv("RONN_PASS_LIMIT", limit)
        results.append(ronn.Session(model(), providers=["reference"]).run([X])[0])
    want = -np.tanh(np.sin(2 * np.exp(X)) + np.exp(X))
    assert np.allclose(results[0], want, atol=1e-6) and not np.allclose(results[1], want, atol=1e-2)


def test_a_pass_that_fails(broken: Callable[[Fault], None]) -> None:
    broken(fails)
    found = ronn.bisect(model(), {"x": X}, providers=["reference"])
    assert (found.verdict, found.pass_name, found.rewrite, found.node) == ("pass", "spoil", 3, "third")
    assert "KeyError" in found.error and "KeyError" in str(found)
    assert any("numbers are right" in line for line in found.advice)


def test_several_samples_and_a_symbol(broken: Callable[[Fault], None]) -> None:
    broken(becomes_cos)
    loaded = model(TEXT.replace("f32[2,4]", "f32[N,4]"))
    found = ronn.bisect(loaded, "random:2", providers=["reference"], options={"dimensions": {"N": 3}})
    assert (found.pass_name, found.rewrite, found.sample) == ("spoil", 3, "made up (seed 0)")


def test_sizes_that_are_wrong_after_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way of planning, for a session's second size, is not that of the first."""
    from ronn import compile as compiling

    @define_pass("spoil")
    def spoil(graph: Graph, context: PassContext) -> bool:
        node = next(n for n in graph if n.op == "Sin")
        node.op = "Cos"
        return True

    right = compiling.again
    monkeypatch.setattr(compiling, "again", lambda stages, found: (*right(stages, found), spoil))
    monkeypatch.setenv("RONN_VERIFY", "0")
    loaded = model(TEXT.replace("f32[2,4]", "f32[N,4]"))
    one = ronn.bisect(loaded, [{"x": X}, {"x": X + 1}], providers=["reference"])
    assert one.verdict == "equal"
    found = ronn.bisect(loaded, [{"x": X}, {"x": np.vstack([X, X])}], providers=["reference"])
    assert (found.verdict, found.sample, found.output) == ("sizes", "inputs 1", "y") and not found.found
    assert any("RONN_PASS_LIMIT=1000000" in line for line in found.advice)


class Faulty(KernelProvider):
    """Takes Sin and Tanh; ``how`` says what is wrong with Sin."""

    name = "faulty"
    how = "wrong"

    @kernel("Sin")
    def sin(self, context: Any, x: np.ndarray) -> np.ndarray:
        match self.how:
            case "wrong":
                return np.cos(x)
            case "nan":
                return np.where(x > 4, np.float32(np.nan), np.sin(x))
            case "raises":
                raise ValueError("cannot")
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "never ends":
                while True:
                    signal.pause()
        return np.sin(x)

    @kernel("Tanh")
    def tanh(self, context: Any, x: np.ndarray) -> np.ndarray:
        return np.tanh(x)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    registry().add(Faulty())
    yield lambda how: monkeypatch.setattr(Faulty, "how", how)
    registry().remove("faulty")


HOW = ["wrong", "nan", "raises", *(["dies", "never ends"] if can_fork() else [])]


@pytest.mark.parametrize("how", HOW)
def test_a_kernel(faulty: Callable[[str], None], how: str) -> None:
    faulty(how)
    timeout = 2.0 if how == "never ends" else 60.0
    found = ronn.bisect(model(), {"x": X}, providers=["faulty", "reference"], timeout=timeout)
    assert found.verdict == "kernel" and found.nodes == ("third",), str(found)
    assert found.suspects[0].provider == "faulty" and found.suspects[0].operators == ("Sin",)
    assert any("from Mul 'second'" in line for line in found.inputs)
    if how in ("dies", "never ends"):
        assert ("SIGKILL" if how == "dies" else "no result after 2 s") in found.error
        assert ("SIGKILL" if how == "dies" else "no result") in found.suspects[0].error
    assert any("providers=['reference']" in line for line in found.advice)


def test_reproducer(broken: Callable[[Fault], None], faulty: Callable[[str], None], tmp_path: Path) -> None:
    faulty("wrong")
    found = ronn.bisect(model(), {"x": X}, providers=["faulty", "reference"])
    files = found.save_repro(tmp_path / "deep" / "small")
    assert [f.name for f in files] == ["small.onnx", "small.npz"] and found.repro == tuple(map(str, files))
    small = ronn.load(files[0])
    assert [n.op for n in small.graph] == ["Sin"]
    again = ronn.bisect(files[0], files[1], providers=["faulty", "reference"])
    assert (again.verdict, again.nodes) == ("kernel", ("third",))
    broken(becomes_cos)
    faulty("right")
    found = ronn.bisect(model(), {"x": X}, providers=["reference"])
    found.save_repro(tmp_path / "small")
    assert [n.op for n in ronn.load(tmp_path / "small.onnx").graph] == ["Sin"]
    assert ronn.bisect(tmp_path / "small.onnx", tmp_path / "small.npz", providers=["reference"]).pass_name == "spoil"


def test_given_outputs(tmp_path: Path) -> None:
    want = ronn.Session(model(), providers=["reference"]).run([X])["y"]
    assert ronn.bisect(model(), {"x": X}, providers=["reference"], against={"y": want}).verdict == "equal"
    np.savez(tmp_path / "wrong.npz", y=want + 1)
    found = ronn.bisect(model(), {"x": X}, providers=["reference"], against=tmp_path / "wrong.npz")
    assert found.verdict == "operators" and any("onnxruntime" in line for line in found.advice)
    with pytest.raises(ronn.OptionError, match="no output 'z'"):
        ronn.bisect(model(), {"x": X}, against={"z": want})
    with pytest.raises(ronn.OptionError, match="nothing to compare with"):
        ronn.bisect(model(), {"x": X}, against="onnxruntme")


def test_a_required_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from ronn.passes import lift_constants

    text = TEXT.replace("%two: f32[] = const {2.0}", "%two = Constant() {value_float=2.0}")
    right = lift_constants.constant_of
    monkeypatch.setattr(lift_constants, "constant_of", lambda node: 3 * right(node))
    found = ronn.bisect(model(text), {"x": X}, providers=["reference"])
    assert (found.verdict, found.pass_name, found.rewrite, found.required) == ("pass", "lift-constants", 1, True)
    assert found.node == "second" and "required" in str(found)


def test_tolerances() -> None:
    want = ronn.Session(model(), providers=["reference"]).run([X])["y"]
    off = want.copy()
    off[0, 0] += 0.1
    given: dict[str, Any] = {"providers": ["reference"], "against": {"y": off}}
    assert ronn.bisect(model(), {"x": X}, **given).verdict == "operators"
    for loose in ({"atol": 0.2}, {"rtol": 0.2}, {"share": 0.2}):
        assert ronn.bisect(model(), {"x": X}, **given, **loose).verdict == "equal"
    with pytest.raises(ronn.OptionError, match="rtol=-1"):
        ronn.bisect(model(), {"x": X}, rtol=-1)


@pytest.mark.skipif(not can_fork(), reason="processes cannot fork here")
def test_work_apart() -> None:
    done = apart(lambda tell: [tell(i) for i in range(3)] and np.arange(200_000))
    assert done.error is None and not done.died and done.told == [0, 1, 2] and len(done.result) == 200_000

    def raises(tell: Callable[[Any], None]) -> None:
        raise ronn.InputError("wrong", hint="mend it")

    failed = apart(raises)
    assert isinstance(failed.error, ronn.InputError) and failed.error.hint == "mend it" and not failed.died
