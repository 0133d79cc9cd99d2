"""Images: linking, mapping, and the memory functions that LLVM calls."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from ronn_codegen.native import compiler, image
from ronn_codegen.native.machine import machine

CALLS = """
declare ptr @memset(ptr, i32, i64)
declare ptr @memcpy(ptr, ptr, i64)
declare ptr @memmove(ptr, ptr, i64)
define void @fill(ptr %a, i64 %byte, i64 %n) {
  %b = trunc i64 %byte to i32
  call ptr @memset(ptr %a, i32 %b, i64 %n)
  ret void
}
define void @copy(ptr %a, ptr %b, i64 %n) {
  call ptr @memcpy(ptr %a, ptr %b, i64 %n)
  ret void
}
define void @move(ptr %a, ptr %b, i64 %n) {
  call ptr @memmove(ptr %a, ptr %b, i64 %n)
  ret void
}
"""
THREE_WORDS = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def linked(text: str, *names: str) -> image.Image:
    llvm.initialize_all_targets()
    return image.link(compiler.emit(llvm.parse_assembly(text), machine(), names))


@pytest.fixture(scope="module")
def memory() -> image.Mapped:
    return image.map_image(linked(CALLS, "fill", "copy", "move"))


def test_fill_and_copy(memory: image.Mapped) -> None:
    a, b = np.zeros(100, np.uint8), np.arange(100, dtype=np.uint8)
    THREE_WORDS(memory.symbols["fill"])(a.ctypes.data + 3, 0x1FE, 40)
    assert (a[3:43] == 0xFE).all() and a[:3].sum() == a[43:].sum() == 0
    THREE_WORDS(memory.symbols["copy"])(a.ctypes.data, b.ctypes.data, 99)
    assert (a[:99] == b[:99]).all() and a[99] == 0


@pytest.mark.parametrize(("to", "start"), [(10, 3), (3, 10), (5, 5), (60, 0)])
def test_move_takes_overlapping_memory(memory: image.Mapped, to: int, start: int) -> None:
    a = np.arange(100, dtype=np.uint8)
    want = a.copy()
    want[to : to + 40] = a[start : start + 40]
    THREE_WORDS(memory.symbols["move"])(a.ctypes.data + to, a.ctypes.data + start, 40)
    assert (a == want).all()


def test_an_unknown_symbol_is_named() -> None:
    with pytest.raises(image.LinkError, match="expf"):
        linked(
            "declare float @expf(float)\ndefine float @f(float %x) {\n"
            " %y = call float @expf(float %x)\n ret float %y\n}",
            "f",
        )


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.img"
    whole = linked(CALLS, "fill", "copy", "move").pack()
    file.write_bytes(whole)
    assert set(image.map_file(file).symbols) >= {"fill", "copy", "move"}
    for broken in (
        whole[:-1],
        whole[:100],
        b"",
        whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
        b"x" + whole[1:],
    ):
        other = tmp_path / f"{len(os.listdir(tmp_path))}.img"
        other.write_bytes(broken)
        with pytest.raises(ValueError):  # what is broken differs
            image.map_file(other)


def test_not_an_object() -> None:
    with pytest.raises(image.LinkError, match="ELF"):
        image.link(b"\x7fELF" + bytes(100))
