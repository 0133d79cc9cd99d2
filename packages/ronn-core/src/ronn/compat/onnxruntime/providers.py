"""Execution providers by onnxruntime's names, and what they are in RONN."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

CPU = "CPUExecutionProvider"

ALL = (
    "TensorrtExecutionProvider", "CUDAExecutionProvider", "MIGraphXExecutionProvider", "OpenVINOExecutionProvider",
    "DnnlExecutionProvider", "VitisAIExecutionProvider", "QNNExecutionProvider", "NnapiExecutionProvider",
    "VSINPUExecutionProvider", "JsExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider",
    "RknpuExecutionProvider", "WebNNExecutionProvider", "WebGpuExecutionProvider", "XnnpackExecutionProvider",
    "CANNExecutionProvider", "AzureExecutionProvider", CPU,
)  # fmt: skip
"""Names that onnxruntime knows, whether a build has them or not. Any other one is a mistake."""


def get_all_providers() -> list[str]:
    return list(ALL)


def get_available_providers() -> list[str]:
    return [CPU]


def get_device() -> str:
    return "CPU"


def check_and_normalize_provider_args(
    providers: Sequence[str | tuple[str, Mapping[Any, Any]]] | None,
    provider_options: Sequence[Mapping[Any, Any]] | None,
    available_provider_names: Sequence[str],
) -> tuple[list[str], list[dict[str, str]]]:
    """The names, and the options of each as strings.

    Warns of a provider that is not available or stands there twice. Raises ValueError for anything else that is wrong.
    """
    if providers is None:
        return [], []
    if not isinstance(providers, Sequence):
        raise ValueError("'providers' should be a sequence.")
    if provider_options is not None:
        pairs = _pairs(providers, provider_options)
    else:
        pairs = [_pair(p) for p in providers]
    found: dict[str, dict[str, str]] = {}
    for name, options in pairs:
        if name not in available_provider_names:
            warnings.warn(
                f"Specified provider '{name}' is not in available provider names."
                f"Available providers: '{', '.join(available_provider_names)}'",
                stacklevel=5,
            )
        if name in found:
            warnings.warn(f"Duplicate provider '{name}' encountered, ignoring.", stacklevel=5)
            continue
        found[name] = {str(k): str(v) for k, v in options.items()}
    return list(found), list(found.values())


def _pairs(providers: Sequence[Any], options: Any) -> list[tuple[str, Mapping[Any, Any]]]:
    if not isinstance(options, Sequence):
        raise ValueError("'provider_options' should be a sequence.")
    if len(providers) != len(options):
        raise ValueError("'providers' and 'provider_options' should be the same length if both are given.")
    if not all(isinstance(p, str) for p in providers):
        raise ValueError("Only string values for 'providers' are supported if 'provider_options' is given.")
    if not all(isinstance(o, dict) for o in options):
        raise ValueError("'provider_options' values must be dicts.")
    return list(zip(providers, options, strict=True))


def _pair(given: Any) -> tuple[str, Mapping[Any, Any]]:
    if isinstance(given, str):
        return given, {}
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], dict):
        return given
    raise ValueError("'providers' values must be either strings or (string, dict) tuples.")


def chosen(providers: Any, provider_options: Any) -> dict[str, dict[str, str]]:
    """The providers of a session, with their options: those asked for that are available, and the CPU.

    RuntimeError for a name that no build of onnxruntime has.
    """
    names, _ = check_and_normalize_provider_args(providers, provider_options, get_available_providers())
    for name in names:
        if name not in ALL:
            raise RuntimeError(f"Unknown Provider Type: {name}")
    return {CPU: {}}
