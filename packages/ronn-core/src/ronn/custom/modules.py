"""Modules of operators that the environment names: ``RONN_OPS=my_package.operators,./more.py``."""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from pathlib import Path

from ronn.errors import OptionError


def bring_in(name: str) -> None:
    """Imports a module, or a file that ends in .py as a module of its name. OptionError when that fails."""
    try:
        if not name.endswith(".py"):
            import_module(name)
            return
        path = Path(name).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise FileNotFoundError(f"there is no file {str(path)!r}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except Exception as e:
        raise OptionError(
            f"RONN_OPS={name!r} cannot be imported: {type(e).__name__}: {e}",
            hint="a module on the path of Python, or a .py file, that registers operators with ronn.op",
        ) from e
