"""A kernel of C-like devices has the parameters of the processor's kernel of its name: one lowering calls both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ronn_codegen.templates
from ronn_codegen.clike.kernel import Target, params_of
from ronn_codegen.clike.library import templates
from ronn_codegen.clike.opencl import OpenCL

FOLDER = Path(ronn_codegen.templates.__file__).parent
MOVING = ("copy", "gather", "scatter", "order", "generate", "counted", "unique", "suppress")
NATIVE = re.compile(r"@native\(\s*((?:\"[^\"]*\"\s*)+)")


def forms(module: str) -> dict[str, list[str]]:
    """The kernels of a module of processors, by name, with the names of their parameters."""
    text = (FOLDER / f"{module}.py").read_text(encoding="utf-8")
    found = {}
    for form in NATIVE.findall(text):
        name, params = params_of("".join(re.findall(r"\"([^\"]*)\"", form)))
        found[name] = [p.name for p in params]
    return found


@pytest.mark.parametrize("module", MOVING)
def test_the_same_kernels_with_the_same_parameters(module: str) -> None:
    ours = {n: [p.name for p in t.params] for n, t in templates(f"ronn_codegen.templates.{module}").items()}
    assert ours == forms(module)
    assert ours


@pytest.mark.parametrize("module", MOVING)
def test_without_float64_no_text_has_it(module: str) -> None:
    target = Target(OpenCL(), doubles=False)
    for template in templates(f"ronn_codegen.templates.{module}").values():
        text = template.source("entry", target)
        assert "f64" not in text and "ENTRY" not in text
        assert "F64" not in text
