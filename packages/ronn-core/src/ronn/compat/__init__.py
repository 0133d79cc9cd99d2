"""Interfaces of other runtimes on top of RONN sessions.

``import ronn.compat.onnxruntime as onnxruntime`` in a program of your own; ``ronn.compat.install()`` or
``python -m ronn.compat PROGRAM ...`` for programs that import onnxruntime themselves.
"""

from ronn.compat.finder import install, installed, uninstall

__all__ = ["install", "installed", "uninstall"]
