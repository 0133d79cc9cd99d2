"""ONNX's message classes without the rest of the package onnx, whose import takes several times as long."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

_MODULE = "onnx_ml_pb2"


@cache
def messages() -> Any:
    """The module that holds ``ModelProto`` and the others: the very classes that ``onnx`` has when it is imported."""
    package = None if "onnx" in sys.modules else PathFinder.find_spec("onnx")
    for folder in () if package is None else package.submodule_search_locations or ():
        file = Path(folder, f"{_MODULE}.py")
        spec = spec_from_file_location(f"ronn.frontend.{_MODULE}", file) if file.is_file() else None
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return import_module(f"onnx.{_MODULE}")
