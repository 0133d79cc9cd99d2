"""What the CPU provider makes ahead, and keeps."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from ronn.plugins import registry
from ronn_codegen.native.library import Library
from ronn_codegen.native.sources import kernel_modules
from ronn_provider_cpu.compiling import native_library, unusable
from ronn_provider_cpu.warm import PACKAGES

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())


def provider():
    return registry().get("cpu").provider


def test_warm_up_asks_for_every_kernel_module(monkeypatch):
    asked = []
    monkeypatch.setattr(Library, "require", lambda self, modules, progress=None: asked.extend(modules))
    assert provider().warm_up(provider().devices()[0], None) == 0
    assert "ronn_codegen.templates.copy" in asked and "ronn_provider_cpu.engine.executor" in asked
    assert asked == [m for package in PACKAGES for m in kernel_modules(package)]


def test_warm_up_makes_nothing_where_native_kernels_are_off(monkeypatch):
    monkeypatch.setenv("RONN_CPU_LEVEL", "none")
    assert provider().warm_up(provider().devices()[0], None) == 0


def test_cached_files_are_those_of_the_code_cache():
    library = native_library()
    assert library is not None
    library.require(["ronn_provider_cpu.engine.executor"])
    own = [f for f in provider().cached_files() if f.current]
    used = [f for f in own if f.path.name.startswith("executor-")]
    assert used and any(provider().check_cached(f) == "" for f in used)
    assert library.machine.level in used[0].group


FIRST_AND_NEXT = """
    import numpy as np, ronn
    from onnx import TensorProto as T, helper as h, numpy_helper as nh
    w = np.random.default_rng(0).standard_normal((32, 32, 3, 3)).astype(np.float32)
    graph = h.make_graph(
        [h.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], "g",
        [h.make_tensor_value_info("x", T.FLOAT, [1, 32, 32, 32])], [h.make_tensor_value_info("y", T.FLOAT, None)],
        [nh.from_array(w, "w")],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9).SerializeToString()
    x = np.random.default_rng(1).standard_normal((1, 32, 32, 32)).astype(np.float32)
    sessions = [ronn.Session(model, providers=["cpu"]) for _ in range(2)]
    first, second = (s.run(x)["y"] for s in sessions)
    (_, plan), = sessions[0]._base.plans()
    assert any("winograd" in k.name for s in plan.segments for k in s.kernels), "another kernel"
    assert np.array_equal(first, second), np.abs(first - second).max()
"""


def test_the_session_that_has_kernels_compiled_gives_the_bits_of_all_others(tmp_path):
    environment = {**os.environ, "RONN_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(FIRST_AND_NEXT)], env=environment, check=True, timeout=600)
