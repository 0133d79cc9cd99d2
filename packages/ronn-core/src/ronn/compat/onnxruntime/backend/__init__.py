"""onnxruntime as an ``onnx.backend``: ``prepare``, ``run``, ``is_compatible``, ``supports_device``."""

from ronn.compat.onnxruntime.backend.backend import is_compatible, prepare, run, supports_device

__all__ = ["is_compatible", "prepare", "run", "supports_device"]
