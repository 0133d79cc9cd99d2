"""Puts RONN in onnxruntime's place in Pythons that a program starts; what else is named sitecustomize follows.

Python imports the first module of this name on its path when it starts. This folder is on it only in child processes of
``python -m ronn.compat``, or after ``ronn.compat.install(children=True)``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

_here = os.path.dirname(os.path.abspath(__file__))


def _others() -> None:
    """Imports the module of this name that would have been imported without this folder."""
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != _here]
    own = sys.modules.pop("sitecustomize")
    try:
        import_module("sitecustomize")
    except ModuleNotFoundError as e:
        if e.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", own)


try:
    from ronn.compat import install
except ModuleNotFoundError as e:  # a Python of another environment, without RONN
    if e.name is None or e.name.partition(".")[0] != "ronn":
        raise
else:
    install()
_others()
