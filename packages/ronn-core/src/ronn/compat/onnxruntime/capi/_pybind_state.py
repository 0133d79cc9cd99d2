"""The same names as the compiled module's."""

from ronn.compat.onnxruntime.capi.onnxruntime_pybind11_state import *  # noqa: F403
