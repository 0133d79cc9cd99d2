"""The kernels of C-like devices by name, as lowerings ask for them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from ronn_codegen.clike.kernel import Kernel, Target, Template
from ronn_codegen.lowering import Refused
from ronn_codegen.native.declare import Signature

_OF_PROCESSORS = "ronn_codegen.templates."
_HERE = "ronn_codegen.clike.templates."


class Kernels:
    """The templates of ``ronn_codegen.clike.templates``. ``machine`` is the target that kernels are made for."""

    def __init__(self, target: Target) -> None:
        self.machine = target

    def signature(self, module: str, kernel: str) -> Signature:
        """The parameters of a kernel. Refused where C-like devices have none of that name."""
        return self.kernel(module, kernel).signature

    def kernel(self, module: str, kernel: str) -> Kernel:
        """The kernel that a lowering names as that of a module of ``ronn_codegen.templates``."""
        found = templates(module).get(kernel)
        if found is None:
            raise Refused(f"no kernel {kernel!r} for this device")
        return found


def templates(module: str) -> dict[str, Template]:
    """The templates of a module, by name; none where there is no such module."""
    name = _HERE + module.removeprefix(_OF_PROCESSORS)
    known = _known.get(name)
    if known is None:
        known = _known[name] = _of(import_module(name)) if find_spec(name) is not None else {}
    return known


_known: dict[str, dict[str, Template]] = {}


def _of(module: ModuleType) -> dict[str, Template]:
    return {thing.name: thing for thing in vars(module).values() if isinstance(thing, Template)}
