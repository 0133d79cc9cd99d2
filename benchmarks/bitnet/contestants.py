"""Who takes part, and what their answers are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bitnet import bitnet_cpp, llama
from benchmarks.bitnet.chain import Chain, Kept, float_model, nbits_model
from benchmarks.bitnet.runners import NumpyFloats, OrtBits, OrtRunner, RonnRunner, Runner

NUMPY, ORT, FLOATS = "NumPy, float32", "ONNX Runtime, float32", "RONN, float32"
TERNARY, WIDE, AVX2 = "RONN, ternary", "RONN, ternary, 16-bit activations", "RONN, ternary, AVX2 code"
BINARY, XNOR = "RONN, binary", "RONN, XNOR"
ORT2, ORT4 = "ONNX Runtime, 2 bits", "ONNX Runtime, 4 bits"
TQ2, TQ1, Q2, Q1 = (f"llama.cpp, {kind}" for kind in ("TQ2_0", "TQ1_0", "Q2_0", "Q1_0"))
I2_S = "bitnet.cpp, I2_S"
RIVALS = (ORT2, TQ2, I2_S)
EXACT, ROUNDED = 2e-6, 0.03  # of the largest answer: float32's rounding of exact sums; activations in blocks of bytes
Make = Callable[[Chain, int, Sequence[int]], Runner]


@dataclass(frozen=True)
class Contestant:
    """bits: a weight's, which say how long a chain must be. kept: what the kernel makes of activations: answers are
    held against exact integers for ``bytes`` and ``signs``, against float64 for ``floats``; ``tolerance`` is of the
    largest. make: of a chain, threads, and the numbers of rows to come. only: kinds of cases that it is timed in."""

    name: str
    bits: float
    kept: Kept
    tolerance: float
    make: Make
    binary: bool = False
    only: tuple[str, ...] = ()


def own() -> list[Contestant]:
    """Those that need nothing beside the benchmarks' requirements."""

    def bits(count: int) -> Make:
        return lambda chain, threads, rows: OrtBits(chain, threads, rows, count)

    def bitnet(level: str = "native", accuracy: int = 4) -> Make:
        return lambda chain, threads, rows: RonnRunner(
            nbits_model(chain, accuracy=accuracy), "bitnet", threads, "ronn.bitnet::BitLinear", level
        )

    def xnor(chain: Chain, threads: int, rows: Sequence[int]) -> Runner:
        return RonnRunner(nbits_model(chain, sign=True), "bitnet", threads, "ronn.bitnet::SignLinear")

    def own_floats(chain: Chain, threads: int, rows: Sequence[int]) -> Runner:
        return RonnRunner(float_model(chain), "cpu", threads, "MatMul")

    def floats(chain: Chain, threads: int, rows: Sequence[int]) -> Runner:
        return OrtRunner(float_model(chain), 4.0 * chain.weights, threads)

    aside = ("out", "in", "many")
    return [
        Contestant(NUMPY, 32, "floats", 1e-5, lambda chain, threads, rows: NumpyFloats(chain)),
        Contestant(ORT, 32, "floats", 1e-5, floats),
        Contestant(FLOATS, 32, "floats", 1e-5, own_floats),
        Contestant(TERNARY, 2, "bytes", EXACT, bitnet()),
        Contestant(WIDE, 2, "floats", 1e-4, bitnet(accuracy=0), only=aside),
        Contestant(AVX2, 2, "bytes", EXACT, bitnet("avx2"), only=aside),
        Contestant(BINARY, 1, "bytes", EXACT, bitnet(), binary=True),
        Contestant(XNOR, 1, "signs", EXACT, xnor, binary=True),
        Contestant(ORT2, 2, "floats", ROUNDED, bits(2)),
        Contestant(ORT4, 4, "floats", ROUNDED, bits(4), only=aside),
    ]


def of_llama(folder: Path) -> list[Contestant]:
    """llama.cpp's types that this version has. OSError without its libraries."""
    ggml = llama.Ggml(folder)

    def made(kind: str) -> Make:
        return lambda chain, threads, rows: llama.LlamaRunner(ggml, kind, chain, threads)

    known = {
        "TQ2_0": Contestant(TQ2, 2.0625, "floats", ROUNDED, made("TQ2_0")),
        "TQ1_0": Contestant(TQ1, 1.6875, "floats", ROUNDED, made("TQ1_0"), only=("out", "in", "many")),
        # without vectors on x86: too slow for the rest
        "Q2_0": Contestant(Q2, 2.25, "floats", ROUNDED, made("Q2_0"), only=("in",)),
        "Q1_0": Contestant(Q1, 1.125, "floats", ROUNDED, made("Q1_0"), binary=True, only=("out", "in", "many")),
    }
    return [contestant for kind, contestant in known.items() if ggml.has(kind)]


def of_bitnet_cpp(library: Path) -> list[Contestant]:
    """bitnet.cpp's kernel. OSError where the library has none."""
    product = bitnet_cpp.product_with(bitnet_cpp.kernel_of(library))
    make: Make = lambda chain, threads, rows: bitnet_cpp.BitnetCppRunner(product, chain)  # noqa: E731
    return [Contestant(I2_S, 2, "bytes", EXACT, make)]


def everyone(llama_folder: Path | None, bitnet_cpp_library: Path | None) -> tuple[list[Contestant], dict[str, str]]:
    """Who can run, and of those who cannot, how they would."""
    found, missing = own(), {}
    folder = llama.find_libraries() if llama_folder is None else llama_folder
    if folder is None:
        missing[TQ2] = llama.INSTALL
    else:
        found += of_llama(folder)
    if bitnet_cpp_library is None:
        missing[I2_S] = bitnet_cpp.INSTALL
    else:
        found += of_bitnet_cpp(bitnet_cpp_library)
    return found, missing
