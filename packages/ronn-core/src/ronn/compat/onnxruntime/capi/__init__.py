"""Modules that onnxruntime calls its C interface."""
