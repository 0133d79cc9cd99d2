"""How the scripts say what they found: one line of JSON, with the runtime that answered to the name onnxruntime."""

from __future__ import annotations

import json
import sys
from typing import Any


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def show(**found: Any) -> None:
    """Prints what was found as the last line of the program."""
    runtime = sys.modules["onnxruntime"].__name__
    print(json.dumps({"runtime": runtime, "found": found}, default=_plain))
