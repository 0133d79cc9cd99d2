"""Memory, compiling and launching, by the machine's C compiler. A vendor puts the calls of his driver here."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ronn.errors import MemoryLimitError, ProviderError
from ronn_codegen.clike.kernel import Grid, Param, Target
from ronn_codegen.clike.launcher import Argument, Entry, Launcher, Place
from ronn_provider_acme.dialect import AcmeC

_OPTIONS = ("-O2", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-shared", "-fPIC")


class AcmeLauncher(Launcher):
    """Memory, compiling and launching. All is done when a call returns, so that there is nothing to wait for."""

    target = Target(AcmeC(), group=1, local_bytes=64 << 10)

    def __init__(self, compiler: Sequence[str]) -> None:
        self.compiler = compiler

    def allocate(self, nbytes: int) -> np.ndarray:
        try:
            whole = np.empty(nbytes + 64, np.uint8)
        except MemoryError as e:
            raise MemoryLimitError(f"acme has no {nbytes} bytes left") from e
        start = -whole.ctypes.data % 64
        return whole[start : start + nbytes]

    def write(self, place: Place, array: np.ndarray) -> None:
        place.memory[place.start :][: array.nbytes] = array.reshape(-1).view(np.uint8)

    def read(self, place: Place, array: np.ndarray) -> None:
        array.reshape(-1).view(np.uint8)[...] = place.memory[place.start :][: array.nbytes]

    def build(self, sources: Mapping[str, str], params: Mapping[str, Sequence[Param]]) -> dict[str, Entry]:
        text = [self.target.dialect.prelude(), *sources.values(), *(self._loop(n, params[n]) for n in sources)]
        with tempfile.TemporaryDirectory() as folder:
            path, made = Path(folder, "kernels.c"), Path(folder, "kernels.so")
            path.write_text("\n".join(text), encoding="utf-8")
            command = [*self.compiler, *_OPTIONS, "-o", made, path, "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise ProviderError(f"acme cannot compile kernels:\n{done.stderr}")
            library = ctypes.CDLL(str(made))
        return {name: Entry(name, library[f"run_{name}"], params[name]) for name in sources}

    def _loop(self, name: str, params: Sequence[Param]) -> str:
        """A function that runs a kernel for all groups; it takes the addresses of the arguments."""
        types = [t for p in params for t in (("u8 *", "i64") if p.is_array else (self.target.dialect.types[p.kind],))]
        given = ", ".join(f"*({t} *)a[{i}]" for i, t in enumerate(types))
        loops = "".join(f"for (group_[{k}] = 0; group_[{k}] < g[{k}]; group_[{k}]++) " for k in (2, 1, 0))
        return f"void run_{name}(void **a, const i64 *g) {{ memcpy(groups_, g, 24); {loops}{name}({given}); }}"

    def bind(self, entry: Entry, arguments: Sequence[Argument], grid: Grid) -> Callable[[], None]:
        kinds = {"i64": ctypes.c_int64, "f32": ctypes.c_float, "f64": ctypes.c_double}
        words: list[Any] = []
        for param, given in zip(entry.params, arguments, strict=True):
            if param.is_array:
                place = given if isinstance(given, Place) else None
                words.append(ctypes.c_void_p(place.memory.ctypes.data if place else None))
                words.append(ctypes.c_int64(place.start if place else 0))
            else:
                words.append(kinds[param.kind](given))
        addresses = (ctypes.c_void_p * len(words))(*(ctypes.addressof(w) for w in words))
        groups = (ctypes.c_int64 * 3)(*grid.groups)
        return lambda kept=words: entry.handle(addresses, groups)  # type: ignore[misc]  # words live as long as it
