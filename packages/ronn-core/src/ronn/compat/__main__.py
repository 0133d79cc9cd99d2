"""``python -m ronn.compat PROGRAM ARGS...`` or ``-m MODULE ARGS...``: runs it with RONN in onnxruntime's place."""

from __future__ import annotations

import io
import os
import runpy
import shutil
import sys
from types import ModuleType

from ronn.compat.finder import install

USAGE = """usage: python -m ronn.compat PROGRAM [ARGS...]
       python -m ronn.compat -m MODULE [ARGS...]

Runs a Python program (a file, or a command on the PATH that is one) unmodified, with RONN under the name onnxruntime;
so do the Python programs that it starts.
"""


def main(arguments: list[str]) -> int:
    """Runs the program that ``arguments`` name. Returns 2 for arguments that name none."""
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["-m"]:
        (sys.stdout if arguments[:1] in (["-h"], ["--help"]) else sys.stderr).write(USAGE)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    if arguments[0] == "-m":
        install(children=True)
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return 0
    program = arguments[0] if os.path.isfile(arguments[0]) else shutil.which(arguments[0])
    if program is None:
        sys.stderr.write(f"ronn.compat: there is no program {arguments[0]!r}\n")
        return 2
    with io.open_code(program) as file:
        source = file.read()
    if b"\0" in source:
        sys.stderr.write(f"ronn.compat: {program} is not a Python program\n")
        return 2
    install(children=True)
    sys.argv = [program, *arguments[1:]]
    path = os.path.abspath(program)  # as Python itself names the main file
    sys.path[0] = os.path.dirname(path)
    code = compile(source, path, "exec", dont_inherit=True)
    module = ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    exec(code, vars(module))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
