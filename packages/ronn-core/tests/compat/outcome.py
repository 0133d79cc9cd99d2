"""Outcomes of cases as plain data, for a file. ``python outcome.py`` records onnxruntime's into ``expected.json``."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"


def plain(value: Any) -> Any:
    """Arrays, containers and strings as what JSON holds."""
    if isinstance(value, np.ndarray):
        kind = "object" if value.dtype == object else value.dtype.str
        return {"array": kind, "shape": list(value.shape), "data": [plain(v) for v in value.ravel().tolist()]}
    if isinstance(value, Mapping):
        return {"map": [[plain(k), plain(v)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.5g}")
    return value if value is None or isinstance(value, (bool, int, str)) else f"<{type(value).__name__}>"


def outcome(case: Callable[[Any], Any], ort: Any) -> Any:
    """What the case gives, or what it raises, and the UserWarnings on the way."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found: Any = {"gives": plain(case(ort))}
        except Exception as e:
            bases = [b.__name__ for b in type(e).__mro__[1:]]
            found = {"raises": type(e).__name__, "bases": bases, "text": str(e)}
    # onnxruntime's own build has one provider more.
    texts = [str(w.message).replace("AzureExecutionProvider, ", "") for w in said if w.category is UserWarning]
    return {**found, "warns": texts}


def record() -> None:
    sys.path.insert(0, str(HERE))
    import cases_types  # noqa: F401
    import cases_values  # noqa: F401
    import onnxruntime
    from cases import CASES, CLASSES

    onnxruntime.set_default_logger_severity(4)
    found = {name: outcome(fn, onnxruntime) for name, fn in {**CASES, **CLASSES}.items()}
    for name in CLASSES:
        found[name].pop("text", None)
    lines = ",\n".join(f"{json.dumps(n)}: {json.dumps(o, ensure_ascii=False)}" for n, o in sorted(found.items()))
    EXPECTED.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    record()
