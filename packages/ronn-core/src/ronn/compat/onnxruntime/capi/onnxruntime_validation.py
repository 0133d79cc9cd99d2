"""What onnxruntime says of its own package."""

from __future__ import annotations

from ronn.compat.onnxruntime.environment import __version__


def get_package_name_and_version_info() -> tuple[str, str, str]:
    """The distribution's name, its version, and the version of CUDA ("" without)."""
    return "onnxruntime", __version__, ""


def check_training_module() -> tuple[bool, Exception | None, str, str]:
    """Whether there is a training module (there is none), why it failed, name and version."""
    return False, None, "", ""
