"""What runs in this process without more than the benchmarks' own requirements: NumPy, ONNX Runtime, RONN."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

import ronn
from benchmarks.bitnet.chain import Chain, activations, nbits_model

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Runner(Protocol):
    """A chain, ready to run."""

    @property
    def weight_bytes(self) -> float:
        """Bytes of weights that a run reads."""

    def feed(self, x: np.ndarray) -> None:
        """Activations f32[M, K] of the runs to come."""

    def __call__(self) -> np.ndarray:
        """f32[M, N]"""


class NumpyFloats:
    """``x @ w`` with float32 weights in the order, [K, N] or [N, K].T, that is faster for what is fed."""

    def __init__(self, chain: Chain) -> None:
        rows = list(chain.rolled(lambda w, scale: w * scale))
        self._orders = ([w.T for w in rows], [np.ascontiguousarray(w.T) for w in rows])
        self._order = 0
        self.weight_bytes = 4.0 * chain.weights

    def feed(self, x: np.ndarray) -> None:
        self._x = x
        self._order = fastest({0: lambda: self._product(0), 1: lambda: self._product(1)})

    def _product(self, order: int) -> np.ndarray:
        y = self._x
        for w in self._orders[order]:
            y = y @ w
        return y

    def __call__(self) -> np.ndarray:
        return self._product(self._order)


class OrtRunner:
    """A session of ONNX Runtime, all optimisations, no threads that spin."""

    def __init__(self, model: bytes, weight_bytes: float, threads: int, lookup: bool = False) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if lookup:
            options.add_session_config_entry("mlas.use_lut_gemm", "1")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.weight_bytes = weight_bytes

    def feed(self, x: np.ndarray) -> None:
        self._feed = {"x": x}

    def __call__(self) -> np.ndarray:
        return self._session.run(None, self._feed)[0]


@dataclass(frozen=True)
class Setting:
    """Of MatMulNBits in ONNX Runtime: elements of a scale, and whether ``mlas.use_lut_gemm`` is on."""

    block: int
    lookup: bool = False

    def __str__(self) -> str:
        return f"block {self.block}{', look-up' if self.lookup else ''}"


PROBE = 72 << 20  # bytes of weights of the chain that settings are tried on
# Blocks of 16, and 256 without look-up tables, have no vector kernel there: 100 times slower.
SETTINGS = {
    2: (Setting(32, True), Setting(64), Setting(64, True), Setting(128), Setting(128, True), Setting(256, True)),
    4: (Setting(32), Setting(64), Setting(128), Setting(256)),
}


class OrtBits:
    """MatMulNBits in ONNX Runtime, accuracy level 4, with the one of ``SETTINGS`` that is fastest for each number of
    rows: tried on a chain that is shorter where this one is long, yet not in the cache."""

    def __init__(self, chain: Chain, threads: int, rows: Sequence[int], bits: int) -> None:
        fewer = min(chain.layers, math.ceil(PROBE * 8 / bits / (chain.weights / chain.layers)))
        short = replace(chain, layers=fewer)
        tried = {s: self._session(short, threads, bits, s) for s in SETTINGS[bits]}
        self._chosen: dict[int, Setting] = {}
        for m in rows:
            for runner in tried.values():
                runner.feed(activations(m, chain.widths[0]))
            self._chosen[m] = fastest(tried)
        whole = tried if fewer == chain.layers else {}
        self._made = {
            s: whole[s] if s in whole else self._session(chain, threads, bits, s) for s in set(self._chosen.values())
        }
        self.setting = self._chosen[rows[0]]

    @staticmethod
    def _session(chain: Chain, threads: int, bits: int, s: Setting) -> OrtRunner:
        size = chain.weights * (bits / 8 + 4 / s.block)
        return OrtRunner(nbits_model(chain, bits=bits, block=s.block), size, threads, s.lookup)

    def feed(self, x: np.ndarray) -> None:
        self.setting = self._chosen[len(x)]
        self._made[self.setting].feed(x)

    @property
    def weight_bytes(self) -> float:
        return self._made[self.setting].weight_bytes

    def __call__(self) -> np.ndarray:
        return self._made[self.setting]()


class RonnRunner:
    """A session of RONN. op: what each product must have become. level: instructions that its kernels may use."""

    def __init__(self, model: bytes, provider: str, threads: int, op: str, level: str = "native") -> None:
        self._level = level
        self.weight_bytes = 0.0
        self._session = self._at_level(lambda: ronn.Session(model, providers=[provider], options={"threads": threads}))
        found = {row.op for row in self._session.placement().rows}
        if found != {op}:
            raise RuntimeError(f"products are to be {op}, but the session has {', '.join(sorted(found))}")

    def _at_level(self, run: Callable[[], R]) -> R:
        before = os.environ.get("RONN_CPU_LEVEL")
        os.environ["RONN_CPU_LEVEL"] = self._level
        try:
            return run()
        finally:
            if before is None:
                del os.environ["RONN_CPU_LEVEL"]
            else:
                os.environ["RONN_CPU_LEVEL"] = before

    def feed(self, x: np.ndarray) -> None:
        self._x = x
        before = self._session.memory().packed
        self._at_level(lambda: self._session.run(x))  # plans are made by the first run of a shape
        packed = self._session.memory().packed - before
        self.weight_bytes = float(packed) if packed else self.weight_bytes

    def __call__(self) -> np.ndarray:
        return self._session.run(self._x)[0]


def fastest(runners: Mapping[K, Callable[[], object]], times: int = 5) -> K:
    """The one with the least time, taken in turn; those far behind run twice only."""
    best = dict.fromkeys(runners, math.inf)
    for turn in range(times):
        for key, run in runners.items():
            if turn < 2 or best[key] < 3 * min(best.values()):
                started = time.perf_counter()
                run()
                best[key] = min(best[key], time.perf_counter() - started)
    return min(best, key=lambda key: best[key])
