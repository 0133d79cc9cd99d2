"""llama.cpp's kernels through ggml's own API: a graph of one mul_mat after another, one call to compute it all.

The libraries are those of the package llama-cpp-python, in this interpreter or in the folder that is given. Weights are
quantised by ggml itself; activations are quantised in the graph, as in llama.cpp.
"""

from __future__ import annotations

import ctypes as c
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bitnet.chain import Chain

INSTALL = "pip install llama-cpp-python"
TYPES = {"TQ2_0": 35, "TQ1_0": 34, "Q1_0": 41, "Q2_0": 42}  # enum ggml_type
_F32 = 0
_P, _I, _L, _Z = c.c_void_p, c.c_int, c.c_int64, c.c_size_t
_NODES = 1024


class _Params(c.Structure):
    _fields_ = (("mem_size", _Z), ("mem_buffer", _P), ("no_alloc", c.c_bool))


class _Plan(c.Structure):
    """struct ggml_cplan, and room for what later versions add."""

    _fields_ = (("work_size", _Z), ("work_data", _P), ("n_threads", _I), ("rest", c.c_uint8 * 128))


_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # the result and the parameters
    "ggml_init": (_P, _Params),
    "ggml_free": (None, _P),
    "ggml_type_name": (c.c_char_p, _I),
    "ggml_row_size": (_Z, _I, _L),
    "ggml_tensor_overhead": (_Z,),
    "ggml_graph_overhead_custom": (_Z, _Z, c.c_bool),
    "ggml_new_tensor_2d": (_P, _P, _I, _L, _L),
    "ggml_get_data": (_P, _P),
    "ggml_mul_mat": (_P, _P, _P, _P),
    "ggml_new_graph_custom": (_P, _P, _Z, c.c_bool),
    "ggml_build_forward_expand": (None, _P, _P),
    "ggml_quantize_chunk": (_Z, _I, _P, _P, _L, _L, _L, _P),
    "ggml_cpu_init": (None,),
    "ggml_graph_plan": (_Plan, _P, _I, _P),
    "ggml_graph_compute": (_I, _P, c.POINTER(_Plan)),
}


def find_libraries() -> Path | None:
    """The folder of the package's libraries, where it is installed."""
    spec = find_spec("llama_cpp")
    places = [] if spec is None or spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    return next((Path(p) / "lib" for p in places if list((Path(p) / "lib").glob("libggml-cpu*"))), None)


class Ggml:
    """The functions of ggml that are needed here. OSError where the folder has no such libraries."""

    def __init__(self, folder: Path) -> None:
        found = [next(iter(sorted(folder.glob(f"libggml-{part}*.so*"))), None) for part in ("base", "cpu")]
        if None in found:
            raise OSError(f"{folder} has no libggml-base and libggml-cpu; {INSTALL}")
        self._functions: dict[str, Any] = {}
        libraries = [c.CDLL(str(path), c.RTLD_GLOBAL) for path in found]
        for name, (result, *parameters) in _FUNCTIONS.items():
            function = next((getattr(lib, name) for lib in libraries if hasattr(lib, name)), None)
            if function is None:
                raise OSError(f"{folder}: no {name} in libggml")
            function.restype, function.argtypes = result, parameters
            self._functions[name.removeprefix("ggml_")] = function
        self.call("cpu_init")

    def call(self, name: str, *arguments: Any) -> Any:
        return self._functions[name](*arguments)

    def has(self, kind: str) -> bool:
        """Whether the number of a type means in this version what it means here."""
        name = self.call("type_name", TYPES[kind])
        return name is not None and name.decode().upper() == kind


class LlamaRunner:
    """A graph of mul_mats with weights of one of ``TYPES``."""

    def __init__(self, ggml: Ggml, kind: str, chain: Chain, threads: int) -> None:
        self._call, self._kind, self._threads = ggml.call, TYPES[kind], threads
        self._shapes = [chain.shape(i) for i in range(chain.layers)]
        sizes = [n * self._call("row_size", self._kind, k) for n, k in self._shapes]
        self.weight_bytes = float(sum(sizes))
        room = sum(sizes) + (self._call("tensor_overhead") + 64) * len(sizes)
        self._held = [self._call("init", _Params(room, None, False))]
        self._weights = []
        for (n, k), data in zip(self._shapes, chain.rolled(self._quantised), strict=True):
            tensor = self._call("new_tensor_2d", self._held[0], self._kind, k, n)
            c.memmove(self._call("get_data", tensor), data.ctypes.data, data.nbytes)
            self._weights.append(tensor)

    def _quantised(self, w: np.ndarray, scale: np.float32) -> np.ndarray:
        """u8[N, bytes of a row], by ggml's own quantiser."""
        n, k = w.shape
        floats = w * scale
        out = np.empty((n, self._call("row_size", self._kind, k)), np.uint8)
        self._call("quantize_chunk", self._kind, floats.ctypes.data, out.ctypes.data, 0, n, k, None)
        return out

    def feed(self, x: np.ndarray) -> None:
        m = len(x)
        while len(self._held) > 1:
            self._call("free", self._held.pop())
        values = x.nbytes + sum(4 * n * m for n, _ in self._shapes)
        room = values + (self._call("tensor_overhead") + 64) * (len(self._shapes) + 1)
        room += self._call("graph_overhead_custom", _NODES, False) + 4096
        context = self._call("init", _Params(room, None, False))
        self._held.append(context)
        y = self._call("new_tensor_2d", context, _F32, x.shape[1], m)
        c.memmove(self._call("get_data", y), x.ctypes.data, x.nbytes)
        for weights in self._weights:
            y = self._call("mul_mat", context, weights, y)
        self._graph = self._call("new_graph_custom", context, _NODES, False)
        self._call("build_forward_expand", self._graph, y)
        self._plan = self._call("graph_plan", self._graph, self._threads, None)
        self._work = np.empty(self._plan.work_size + 64, np.uint8)
        self._plan.work_data = self._work.ctypes.data
        place = c.cast(self._call("get_data", y), c.POINTER(c.c_float))
        self._y = np.ctypeslib.as_array(place, (m, self._shapes[-1][0]))

    def __call__(self) -> np.ndarray:
        if self._call("graph_compute", self._graph, c.byref(self._plan)):
            raise RuntimeError("ggml_graph_compute failed")
        return self._y

    def __del__(self) -> None:
        for context in self._held:
            self._call("free", context)
