"""The kernel library of a machine: kernels by module and name, compiled when first needed, mapped from the cache after.

Nothing here imports numba or llvmlite unless something must be compiled.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ronn.debug import say
from ronn.forks import renew_after_fork
from ronn.listeners import current_run, emit, watched
from ronn_codegen.native import sources
from ronn_codegen.native.cache import CodeCache, code_folder
from ronn_codegen.native.declare import Signature
from ronn_codegen.native.image import Image, Mapped, link
from ronn_codegen.native.machine import Machine, machine

if TYPE_CHECKING:
    import subprocess

Progress = Callable[[int, int, str], None]
"""Called as ``(done, total, module)`` while modules are compiled."""

_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Generated(Protocol):
    """A kernel made for a model: its text is its identity, ``build`` gives an object with the symbol ``kernel``,
    ``source`` what is compiled for it, for people."""

    text: str
    signature: Signature

    def build(self, machine: Machine) -> bytes: ...

    def source(self, machine: Machine) -> str: ...


class BuildError(Exception):
    """A kernel module cannot be compiled; the text holds the compiler's own message."""


class Kernel:
    """A compiled kernel. Calling it runs it on this thread: parameters in order, then ``worker=`` and ``workers=``.
    ``entry`` takes the address of an argument block, worker and workers."""

    def __init__(self, address: int, signature: Signature) -> None:
        self.address = address
        self.signature = signature
        self.entry = _ENTRY(address)

    def __call__(self, *arguments: float, worker: int = 0, workers: int = 1) -> None:
        block = pack(self.signature, arguments)
        self.entry(block.ctypes.data, worker, workers)


def pack(signature: Signature, arguments: Sequence[Any]) -> np.ndarray:
    """The argument block: one int64 word a parameter, floats by their bits. TypeError for a wrong number."""
    if len(arguments) != len(signature.params):
        raise TypeError(f"{signature} takes {len(signature.params)} arguments, not {len(arguments)}")
    return np.array([word(kind, a) for (_, kind), a in zip(signature.params, arguments, strict=True)], np.int64)


def word(kind: str, value: Any) -> int:
    """The 64-bit word of an argument."""
    if kind == "i64":
        return int(value)
    if kind == "f32":
        return int(np.float32(value).view(np.uint32))
    return int(np.float64(value).view(np.int64))


class Library:
    """Kernels for one machine. ``compiles`` counts modules and generated kernels compiled by this process,
    ``compiles_here`` those that the calling thread asked for."""

    def __init__(self, for_machine: Machine) -> None:
        self.machine = for_machine
        self.cache = CodeCache.of(for_machine.key, for_machine.description)
        self.compiles = 0
        self._mapped: dict[str, Mapped] = {}
        self._signatures: dict[str, dict[str, Signature]] = {}
        self._new: set[str] = set()  # names that are being compiled
        self._lock = threading.RLock()
        self._asked = threading.local()

    @property
    def compiles_here(self) -> int:
        return getattr(self._asked, "compiles", 0)

    def _count(self, compiled: int) -> None:
        self.compiles += compiled
        self._asked.compiles = self.compiles_here + compiled

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.RLock()

    # --- modules

    def signature(self, module: str, kernel: str) -> Signature:
        """The parameters of a kernel. KeyError when the module declares no kernel of that name.

        Told by the image when there is one, else by the module's text, so that several modules can be compiled at once
        when all are known; a module whose text does not tell is compiled now.
        """
        with self._lock:
            known = self._signatures.get(module)
            if known is None or kernel not in known:
                if self._find(module):
                    known = {s.name: s for s in map(Signature.parse, self._mapped[module].info["kernels"])}
                    self._signatures[module] = known
                else:
                    known = sources.signatures(module)
                    if kernel not in known:
                        self.require([module])
                        return self.signature(module, kernel)
        found = known.get(kernel)
        if found is None:
            raise KeyError(f"{module} declares no kernel {kernel!r}; it has {', '.join(known)}")
        return found

    def kernel(self, module: str, kernel: str) -> Kernel:
        """A kernel, compiled now if need be. Raises BuildError."""
        self.require([module])
        return Kernel(self.address(module, kernel), self.signature(module, kernel))

    def address(self, module: str, kernel: str) -> int:
        """Where the kernel's entry point is; the module must have been required."""
        return self._mapped[module].symbols[kernel]

    def missing(self, modules: Iterable[str]) -> list[str]:
        """Those of ``modules`` that must be compiled; the others are mapped now."""
        with self._lock:
            return [m for m in dict.fromkeys(modules) if not self._find(m)]

    def require(self, modules: Iterable[str], progress: Progress | None = None) -> None:
        """Makes the kernels of ``modules`` callable. Compiles in processes of their own. Raises BuildError."""
        if all(m in self._mapped for m in modules):
            return
        with self._lock:
            missing = self.missing(modules)
            if missing:
                with self.cache.compiling():
                    missing = self.missing(missing)  # another process may have been at it
                    if missing:
                        self._compile(missing, lambda: self._build(missing, progress))

    def build_here(self, module: str) -> None:
        """Compiles a module in this process, and stores it."""
        from ronn_codegen.native.build import build

        self._mapped[module] = self.cache.store(self._name(module), build(module, self.machine))

    def _name(self, module: str) -> str:
        return f"{module.rpartition('.')[2]}-{sources.digest(module)}"

    def _find(self, module: str) -> bool:
        return self._find_named(module, self._name(module) if module not in self._mapped else "")

    def _find_named(self, key: str, name: str) -> bool:
        if key not in self._mapped:
            found = self.cache.load(name)
            if found is None:
                return False
            self._mapped[key] = found
            if watched("CacheHit") and key not in self._new:
                emit("CacheHit", cache="code", name=name)
        return True

    def _compile(self, names: list[str], work: Callable[[], object]) -> None:
        """Has modules or generated kernels compiled, counts and tells it."""
        for name in names:
            emit("CacheMiss", cache="code", name=name)
        began = time.monotonic()
        self._new.update(names)
        try:
            work()
        finally:
            self._new.difference_update(names)
        self._count(len(names))
        seconds = time.monotonic() - began
        say(2, f"ronn: {len(names)} kernels or kernel modules compiled in {seconds:.2f} s: {', '.join(names)}")
        emit("KernelsCompiled", level=self.machine.level, kernels=tuple(names), seconds=seconds, run=current_run())

    def _build(self, modules: list[str], progress: Progress | None) -> None:
        """Two processes, each of which gets the next module, the longest first, when it is done with one; what the
        cache cannot keep is compiled here."""
        waiting = sorted(modules, key=sources.length)
        running = [self._start() for _ in range(min(2, len(modules)))]
        done, errors = 0, []
        if progress is not None:
            progress(0, len(modules), waiting[-1])
        threads = []

        def feed(process: subprocess.Popen[str]) -> None:
            assert process.stdin is not None
            try:
                if waiting:
                    process.stdin.write(waiting.pop() + "\n")
                    process.stdin.flush()
                else:
                    process.stdin.close()
            except BrokenPipeError:
                pass  # it died: what it said of it is in its errors

        def watch(process: subprocess.Popen[str]) -> None:
            nonlocal done
            assert process.stdout is not None
            feed(process)
            for line in process.stdout:
                name, _, verdict = line.strip().partition("\t")
                if verdict in ("ok", "failed"):
                    done += 1
                    feed(process)
                    if progress is not None:
                        progress(done, len(modules), name)

        def drain(process: subprocess.Popen[str]) -> None:
            assert process.stderr is not None
            text = process.stderr.read()
            if process.wait():
                errors.append(text)

        for process in running:
            threads += [threading.Thread(target=t, args=(process,)) for t in (watch, drain)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for module in modules:
            if not self._find(module):
                if errors:
                    raise BuildError(f"{module} does not compile:\n" + "\n".join(errors))
                self.build_here(module)

    def _start(self) -> subprocess.Popen[str]:
        import subprocess

        command = [sys.executable, "-m", "ronn_codegen.native.build", self.machine.level]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    # --- generated kernels

    def prepare(self, kernels: Iterable[Generated], progress: Progress | None = None) -> None:
        """Compiles those of ``kernels`` that the cache has not, telling how far it is."""
        with self._lock:
            missing = [k for name, k in {_name_of(k): k for k in kernels}.items() if not self._find_named(name, name)]
            for i, kernel in enumerate(missing):
                if progress is not None:
                    progress(i, len(missing), kernel.signature.name)
                self.generated(kernel)

    def generated(self, kernel: Generated) -> int:
        """The address of a generated kernel, compiled in this process when the cache has none."""
        name = _name_of(kernel)
        with self._lock:
            if not self._find_named(name, name):

                def work() -> None:
                    self._mapped[name] = self.cache.store(name, self._link(kernel))

                self._compile([name], work)
            return self._mapped[name].symbols["kernel"]

    def _link(self, kernel: Generated) -> Image:
        started = time.perf_counter()
        image = link(kernel.build(self.machine), {"text": kernel.text})
        image.info["seconds"] = round(time.perf_counter() - started, 4)
        return image


def _name_of(kernel: Generated) -> str:
    return f"loop-{hashlib.sha256(kernel.text.encode()).hexdigest()[:24]}-{_renderer_digest()}"


@lru_cache(maxsize=1)
def _renderer_digest() -> str:
    return sources.digest("ronn_codegen.loops.render.build")[:12]


def library(level: str = "native") -> Library:
    """The library for a level of instructions (see ``machine``): one per process and cache folder."""
    return _library(level, code_folder())


@lru_cache(maxsize=16)
def _library(level: str, folder: Path) -> Library:
    made = Library(machine(level))
    renew_after_fork(made)
    return made
