"""Functions of the whole process: logging, telemetry, versions."""

from __future__ import annotations

import logging

from ronn._version import __version__ as ronn_version

__version__ = "1.32.0"
"""The version of onnxruntime whose interface this is."""

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def set_default_logger_severity(severity: int) -> None:
    """Sets the level of the ``ronn`` logger: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal."""
    if not 0 <= severity <= 4:
        raise RuntimeError(
            "severity >= 0 && severity <= 4 was false. Invalid logging severity. "
            "0:Verbose, 1:Info, 2:Warning, 3:Error, 4:Fatal"
        )
    logging.getLogger("ronn").setLevel(_LEVELS[severity])


def set_default_logger_verbosity(verbosity: int) -> None:
    """Accepted: RONN's logging has no levels below ``DEBUG``."""


def disable_telemetry_events() -> None:
    """RONN sends nothing anywhere."""


def enable_telemetry_events() -> None:
    """RONN sends nothing anywhere, whatever is enabled."""


def preload_dlls(cuda: bool = True, cudnn: bool = True, msvc: bool = True, directory: str | None = None) -> None:
    """Loads libraries for providers that need some; the CPU needs none."""


def set_seed(seed: int) -> None:
    """Accepted: random operators of a model take the seed that their node states."""


def get_version_string() -> str:
    return __version__


def get_build_info() -> str:
    return f"RONN {ronn_version}, interface of onnxruntime {__version__}"


def has_collective_ops() -> bool:
    return False
