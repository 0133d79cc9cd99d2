"""The tests of ``onnx.backend.test``, one at a time, with what came of each.

Groups: node, simple, converted (PyTorch), operator (PyTorch) and light (real models without their weights).
"""

from __future__ import annotations

import functools
import os
import tempfile
import unittest
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

GROUPS = {
    "NodeModel": "node",
    "SimpleModel": "simple",
    "PyTorchConvertedModel": "converted",
    "PyTorchOperatorModel": "operator",
    "RealModel": "light",
}

# Their outputs are random numbers: nothing that they are compared with can be right.
OUT_OF_REACH = ("test_bernoulli",)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the suite for one backend. ``run()`` raises where it fails."""

    name: str
    group: str
    run: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case. ``reason`` is empty for a pass; ``refused``: no listed provider takes some node."""

    name: str
    group: str
    passed: bool
    reason: str = ""
    refused: bool = False


def cases(backend: Any) -> Iterator[Case]:
    """The CPU tests of the installed onnx, each bound to ``backend`` (prepare, run_model, supports_device)."""
    from onnx.backend.test import BackendTest

    suite = BackendTest(_Strict.around(backend), __name__)
    for class_name, holder in suite.test_cases.items():
        group = GROUPS[class_name.removeprefix("OnnxBackend").removesuffix("Test")]
        for attribute, function in sorted(vars(holder).items()):
            if attribute.startswith("test_") and attribute.endswith("_cpu"):
                yield Case(attribute.removesuffix("_cpu"), group, functools.partial(function, None))


class _Strict:
    """A backend that calls every model compatible: onnx would silently skip the others."""

    @staticmethod
    def around(backend: Any) -> Any:
        namespace = {
            "is_compatible": staticmethod(lambda *args, **kwargs: True),
            "prepare": staticmethod(backend.prepare),
            "run_model": staticmethod(backend.run_model),
            "supports_device": staticmethod(lambda device: device == "CPU"),
        }
        return type("StrictBackend", (), namespace)


def run(backend: Any, names: Iterable[str] | None = None, groups: Iterable[str] | None = None) -> list[Result]:
    """Runs the cases (only ``names``, only ``groups``, where given) and says what came of each.

    onnx writes the data of the light models into a temporary folder that is removed again.
    """
    chosen = None if names is None else set(names)
    wanted = None if groups is None else set(groups)
    out = []
    before = os.environ.get("ONNX_MODELS")
    with tempfile.TemporaryDirectory(prefix="ronn-onnx-") as folder:
        os.environ["ONNX_MODELS"] = folder
        try:
            for case in cases(backend):
                if (chosen is None or case.name in chosen) and (wanted is None or case.group in wanted):
                    out.append(attempt(case))
        finally:
            if before is None:
                del os.environ["ONNX_MODELS"]
            else:
                os.environ["ONNX_MODELS"] = before
    return out


def attempt(case: Case) -> Result:
    """Runs one case."""
    import numpy as np

    try:
        with np.errstate(all="ignore"):
            case.run()
    except KeyboardInterrupt:
        raise
    except unittest.SkipTest as e:
        return Result(case.name, case.group, False, f"skipped: {e}")
    except BaseException as e:  # backends raise what they like
        return Result(case.name, case.group, False, _reason(e), type(e).__name__ == "PlacementError")
    return Result(case.name, case.group, True)


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Mismatched elements" in line or "dtypes" in line]
    text = next(iter([*telling, *lines]), "")
    if type(error).__name__ == "PlacementError" and len(lines) > 1:
        refusals = [line for line in lines if "(opset " in line and ": " in line]
        text = refusals[-1] if refusals else text
    return f"{type(error).__name__}: {text}"[:300]


def counts(results: Iterable[Result]) -> dict[str, dict[str, int]]:
    """Passes and totals by group, and together under ``total``."""
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for r in results:
        for key in (r.group, "total"):
            total[key] += 1
            passed[key] += r.passed
    return {key: {"passed": passed[key], "total": total[key]} for key in (*GROUPS.values(), "total") if total[key]}


@functools.lru_cache(maxsize=1)
def opsets() -> dict[str, int]:
    """The opset that each case's model imports (of ONNX's domain, else of its own); 0 where it is not known."""
    import onnx
    from onnx.backend.test.loader import load_model_tests

    found = {}
    for kind in ("node", "real", "simple", "pytorch-converted", "pytorch-operator"):
        for test in load_model_tests(kind=kind):
            model = test.model
            if model is None and test.model_dir is not None:
                path = os.path.join(test.model_dir, "model.onnx")
                model = onnx.load(path, load_external_data=False) if os.path.exists(path) else None
            imports = {} if model is None else {o.domain: o.version for o in model.opset_import}
            found[test.name] = imports.get("", max(imports.values(), default=0))
    return found
