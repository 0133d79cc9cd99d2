"""The device, told to be another one: without vectors and caches, of small groups, with little local memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ronn.records import replace
from ronn_provider_npu.launcher import OpenCLLauncher
from ronn_provider_npu.provider import NpuProvider

HELD: dict[str, dict[str, Any]] = {
    "vectors": {},
    "groups": {"width": 1, "cached": False},
    "little memory": {"width": 1, "group": 16, "local_bytes": 3 << 10, "cached": False},
    "alone": {"width": 1, "group": 1, "local_bytes": 3 << 10, "cached": False},
}
UNIT: dict[str, dict[str, Any]] = {"unit": {"unit": (24, 16, 3), "cached": False}}
"""With a matrix unit, whose sides are no powers of two."""


_launcher = NpuProvider.launcher


@cache
def launcher(how: str) -> OpenCLLauncher:
    provider = NpuProvider()
    plain = _launcher(provider, provider.devices()[0], {})
    return OpenCLLauncher(plain.device, replace(plain.target, **(HELD | UNIT)[how]))


@contextmanager
def held(how: str) -> Iterator[None]:
    """Sessions made meanwhile run on a device of the tables above."""
    NpuProvider.launcher = lambda *_: launcher(how)  # type: ignore[method-assign]
    try:
        yield
    finally:
        NpuProvider.launcher = _launcher  # type: ignore[method-assign]
