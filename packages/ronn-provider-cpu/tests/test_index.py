"""Modules of kernels and lowerings are imported when an operator asks for them."""

from __future__ import annotations

import subprocess
import sys

import onnx

from ronn_codegen.index import LOWERINGS as SHARED_LOWERINGS
from ronn_provider_cpu.index import KERNELS, LOWERINGS
from ronn_provider_cpu.lowering import TABLE
from ronn_provider_cpu.provider import NUMPY_KERNELS, CpuProvider

_ASK = """
import sys
from ronn_provider_cpu.lowering import TABLE
from ronn_provider_cpu.provider import CpuProvider

assert CpuProvider().kernel_set._candidates("", "Softmax")
assert TABLE.entries("", "EyeLike") and TABLE.entries("", "MaxPool")
print(*sorted(name for name in sys.modules if name.startswith(("ronn_provider_cpu.", "ronn_codegen.lower."))))
"""


def test_only_what_an_operator_needs_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True)
    names = [n.split(".")[1:] for n in done.stdout.split()]
    public = {package: [n[1] for n in names if n[0] == package and len(n) == 2 and n[1][0] != "_"]
              for package in ("kernels", "lower")}  # fmt: skip
    assert public == {"kernels": ["softmax"], "lower": ["generate", "pool"]}


def test_the_index_lists_every_operator_where_it_is() -> None:
    # A module that has none is not looked into for one.
    assert set(KERNELS) == {m.__name__.rpartition(".")[2] for m in NUMPY_KERNELS.all()}
    homes = {**SHARED_LOWERINGS, **LOWERINGS}
    for domain, op in TABLE.all():
        found = {e.fn.__module__.rpartition(".")[2] for e in TABLE.entries(domain, op)}
        name = f"{domain}::{op}" if domain else op
        listed = {m for m, operators in homes.items() if name in operators.split()}
        assert found == listed, f"{name}: run python docs/generate.py"
    for kernel in CpuProvider().kernel_set:
        name = f"{kernel.domain}::{kernel.op}" if kernel.domain else kernel.op
        assert any(name in operators.split() for operators in KERNELS.values()), f"{name}: run python docs/generate.py"


def test_an_operator_that_the_index_lacks_is_found(monkeypatch) -> None:
    monkeypatch.setattr(TABLE.families, "_homes", {})
    monkeypatch.setattr(TABLE, "_known", {})
    assert TABLE.entries("", "MaxPool")


def test_a_run_needs_nothing_that_is_slow_to_import(tmp_path) -> None:
    header = '<ir_version: 9, opset_import: ["": 17]>'
    model = onnx.parser.parse_model(header + "g (float[N] x) => (float[N] y) { y = Relu(x) }")
    onnx.save(model, tmp_path / "model.onnx")
    text = (
        "import sys, numpy, ronn\n"
        "ronn.Session(sys.argv[1], [('cpu', {'kernels': 'numpy'})]).run(numpy.float32([1]))\n"
        "print(*{'onnx', 'numba', 'importlib.metadata', 'email', 'logging', 'subprocess'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", text, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
