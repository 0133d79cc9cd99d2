"""What the CPU provider makes ahead, and keeps."""

from __future__ import annotations

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
