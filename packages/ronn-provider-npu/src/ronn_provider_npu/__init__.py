"""OpenCL devices for RONN, and an adapter for NPU- and TPU-like ones. Importing this imports no OpenCL: see
``ronn_provider_npu.provider``."""

from ronn_provider_npu._version import __version__

__all__ = ["__version__"]
