"""The provider: its devices, and what runs kernels on them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from ronn.provider import Device, Unavailable
from ronn_codegen.clike.provider import ClikeProvider
from ronn_provider_acme.launcher import AcmeLauncher


class AcmeProvider(ClikeProvider):
    """Every operator that RONN has a C-like kernel for, on acme."""

    name: ClassVar[str] = "acme"

    def devices(self) -> Sequence[Device]:
        if _compiler() is None:
            raise Unavailable("acme needs a C compiler: set CC, or pip install ziglang")
        return [Device("acme:0", "C compiled for this machine")]

    def launcher(self, device: Device, options: Mapping[str, Any]) -> AcmeLauncher:
        return _launcher()


@cache
def _launcher() -> AcmeLauncher:
    return AcmeLauncher(_compiler() or ())


def _compiler() -> Sequence[str] | None:
    """The command of a C compiler; None where there is none."""
    found = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found:
        return found.split()
    try:
        import ziglang  # noqa: F401
    except ImportError:
        return None
    return [sys.executable, "-m", "ziglang", "cc"]
