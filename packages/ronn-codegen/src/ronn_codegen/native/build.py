"""Compiles kernel modules in a process of its own: ``python -m ronn_codegen.native.build LEVEL``.

numba and LLVM stay out of the caller's process. Takes one module a line from standard input, and prints one line for
each: its name, then ``ok`` or ``failed``.
"""

from __future__ import annotations

import importlib
import sys
import traceback

from ronn_codegen.native.declare import declared
from ronn_codegen.native.image import Image, link
from ronn_codegen.native.machine import Machine, machine


def build(module: str, for_machine: Machine) -> Image:
    """The image of a kernel module. Raises what numba, LLVM or the linker raise."""
    from ronn_codegen.native.compiler import compile_object

    kernels = list(declared(importlib.import_module(module)).values())
    return link(
        compile_object(kernels, for_machine), {"module": module, "kernels": [str(k.signature) for k in kernels]}
    )


def main(arguments: list[str]) -> int:
    from ronn_codegen.native.library import Library

    library, failed = Library(machine(arguments[0])), 0
    for line in sys.stdin:
        module = line.strip()
        try:
            library.build_here(module)
            sys.stdout.write(f"{module}\tok\n")
            sys.stdout.flush()
        except Exception:
            failed += 1
            traceback.print_exc()
            sys.stdout.write(f"{module}\tfailed\n")
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
