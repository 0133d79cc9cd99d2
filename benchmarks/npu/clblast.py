"""clBLAST by its C interface: the peer of matrix products on OpenCL devices."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

ROWS_FIRST, AS_IT_IS, SINGLE = 101, 111, 32
_OK = 0


class Absent(Exception):
    """There is no libclblast; the text says what to install."""


def library() -> ctypes.CDLL:
    """libclblast. Raises Absent."""
    name = ctypes.util.find_library("clblast")
    try:
        return ctypes.CDLL(name if name else "libclblast.so.1")
    except OSError as e:
        raise Absent(f"no libclblast here ({e}): Debian has it as libclblast-dev") from e


def sgemm(library: ctypes.CDLL, queue: Any, m: int, n: int, k: int, a: Any, b: Any, y: Any) -> None:
    """Enqueues y = a @ b, float32 in C order. ``a``, ``b``, ``y``: buffers of pyopencl."""
    size, real, pointer = ctypes.c_size_t, ctypes.c_float, ctypes.c_void_p
    at = pointer(queue.int_ptr)
    status = library.CLBlastSgemm(
        ctypes.c_int(ROWS_FIRST), ctypes.c_int(AS_IT_IS), ctypes.c_int(AS_IT_IS), size(m), size(n), size(k), real(1),
        pointer(a.int_ptr), size(0), size(k), pointer(b.int_ptr), size(0), size(n), real(0), pointer(y.int_ptr),
        size(0), size(n), ctypes.byref(at), None,
    )  # fmt: skip
    if status != _OK:
        raise RuntimeError(f"CLBlastSgemm gave {status}")


def override(library: ctypes.CDLL, device: Any, kernel: str, parameters: Mapping[str, int]) -> bool:
    """Has a kernel compiled with other parameters from now on; False where clBLAST does not take them."""
    count = len(parameters)
    names = (ctypes.c_char_p * count)(*(n.encode() for n in parameters))
    values = (ctypes.c_size_t * count)(*parameters.values())
    status = library.CLBlastOverrideParameters(
        ctypes.c_void_p(device.int_ptr), kernel.encode(), ctypes.c_int(SINGLE), ctypes.c_size_t(count), names, values
    )
    return bool(status == _OK)


SUMS = 512  # of one work-item at most: beyond, compilers take minutes


def parameters() -> Iterator[dict[str, int]]:
    """Parameters of clBLAST's large GEMM kernel, ``Xgemm``, that are worth a try on a processor: groups of one and of
    several work-items, tiles of several heights and widths, with and without copies in local memory; and its kernel for
    vectors alone (``GEMMK`` 1)."""
    for vector, down, tall, wide, local in product((4, 8), (1, 4, 8), (1, 2, 4), (1, 2, 4), (0, 1)):
        if vector * tall * vector * wide <= SUMS and not (local and down == 1):
            yield {
                "GEMMK": 0, "KREG": 1, "KWG": 32, "KWI": 2, "MDIMA": down, "MDIMC": down, "MWG": vector * down * tall,
                "NDIMB": down, "NDIMC": down, "NWG": vector * down * wide, "SA": local, "SB": local, "STRM": 0,
                "STRN": 0, "VWM": vector, "VWN": vector,
            }  # fmt: skip
    for vector, down, tall in product((4, 8), (1, 4, 8), (1, 2)):
        whole = vector * down * tall
        yield {
            "GEMMK": 1, "KREG": vector, "KWG": 1, "KWI": 1, "MDIMA": down, "MDIMC": down, "MWG": whole, "NDIMB": down,
            "NDIMC": down, "NWG": whole, "SA": 0, "SB": 0, "STRM": 0, "STRN": 0, "VWM": vector, "VWN": vector,
        }  # fmt: skip
