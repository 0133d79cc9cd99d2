"""Links one object file into an image: code and constants with every reference resolved, ready to be mapped anywhere.

Kernels refer only to themselves and to constants beside them, always relative to the program counter, so that an image
needs no loader: a process maps the file as executable memory and calls into it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import struct
import zlib
from typing import Any, BinaryIO

from ronn.records import dataclass, field

MAGIC = b"RONNIMG2"
PAGE = 4096
_FIXED = len(MAGIC) + 12
_ALLOC, _NOBITS, _RELA, _SYMTAB = 2, 8, 4, 2
_PC32, _PLT32, _PC64 = 2, 4, 24


class LinkError(Exception):
    """The object needs something that an image cannot have (an external symbol, an absolute address)."""


@dataclass(frozen=True)
class Image:
    """``code`` holds the sections; ``symbols`` are offsets of functions in it; ``info`` is kept beside them."""

    code: bytes
    symbols: dict[str, int]
    info: dict[str, Any] = field(default_factory=dict)

    def pack(self) -> bytes:
        """The image as a file: a header with checksums of itself and of the code, padded to whole pages; the code."""
        about = {"symbols": self.symbols, "info": self.info, "size": len(self.code), "crc": zlib.crc32(self.code)}
        head = json.dumps(about).encode()
        start = -(-(_FIXED + len(head)) // PAGE) * PAGE
        fixed = MAGIC + struct.pack("<III", len(head), start, zlib.crc32(head))
        return (fixed + head).ljust(start, b"\0") + self.code


def link(elf: bytes, info: dict[str, Any] | None = None) -> Image:
    """The image of a relocatable ELF object for x86-64. Raises LinkError."""
    if elf[:4] != b"\x7fELF" or elf[4] != 2 or struct.unpack_from("<H", elf, 18)[0] != 62:
        raise LinkError("not an ELF object for x86-64")
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count = struct.unpack_from("<HH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, table + i * size) for i in range(count)]
    code = bytearray()
    places: dict[int, int] = {}
    for i, (_, kind, flags, _, offset, length, _, _, align, _) in enumerate(sections):
        if flags & _ALLOC and length:
            code += b"\0" * (-len(code) % max(align, 64))
            places[i] = len(code)
            code += b"\0" * length if kind == _NOBITS else elf[offset : offset + length]
    symbols, names = _symbols(elf, sections, places)
    for _, kind, _, _, offset, length, _, target, _, entry in sections:
        if kind == _RELA and target in places:
            for at in range(offset, offset + length, entry):
                _relocate(code, elf, at, places[target], symbols)
    return Image(bytes(code), names, {} if info is None else info)


def _symbols(elf: bytes, sections: list[Any], places: dict[int, int]) -> tuple[list[int | str], dict[str, int]]:
    """Offsets of all symbols by number (the name of one that is not here), and of the functions by name."""
    found: list[int | str] = []
    names: dict[str, int] = {}
    for _, kind, _, _, offset, length, strings, _, _, entry in sections:
        if kind != _SYMTAB:
            continue
        base = sections[strings][4]
        for at in range(offset, offset + length, entry):
            name_at, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", elf, at)
            end = elf.index(b"\0", base + name_at)
            name = elf[base + name_at : end].decode()
            if section in places:
                found.append(places[section] + value)
                if info & 15 == 2 and info >> 4 == 1:
                    names[name] = places[section] + value
            else:
                found.append(name)
    return found, names


def _relocate(code: bytearray, elf: bytes, at: int, base: int, symbols: list[int | str]) -> None:
    where, info, addend = struct.unpack_from("<QQq", elf, at)
    symbol, kind = symbols[info >> 32], info & 0xFFFFFFFF
    if isinstance(symbol, str):
        raise LinkError(f"the kernel calls {symbol!r}, which is not part of it")
    place = base + where
    if kind in (_PC32, _PLT32):
        struct.pack_into("<i", code, place, symbol + addend - place)
    elif kind == _PC64:
        struct.pack_into("<q", code, place, symbol + addend - place)
    else:
        raise LinkError(f"relocation {kind} is not relative to the program counter")


@dataclass(frozen=True)
class Mapped:
    """An image in executable memory. ``symbols`` are addresses. The memory stays mapped as long as the process lives:
    addresses of kernels are plain integers that nothing can count references to."""

    symbols: dict[str, int]
    info: dict[str, Any]


_kept: list[mmap.mmap] = []


def map_file(path: str | os.PathLike[str]) -> Mapped:
    """Maps an image file. Raises OSError, or ValueError for a file that is no whole image or somebody else's."""
    with open(path, "rb") as f:
        header, start, size = _read_header(f, path)
        try:
            memory = mmap.mmap(f.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        except OSError:  # a file system that nothing may be executed from
            f.seek(0)
            data = f.read()
            if zlib.crc32(data[start:]) != header["crc"]:
                raise ValueError(f"{path} is damaged") from None
            return map_image(Image(data[start:], header["symbols"], header["info"]))
    if zlib.crc32(memoryview(memory)[start:]) != header["crc"]:
        raise ValueError(f"{path} is damaged")
    return _mapped(memory, start, header)


def check_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What is known of an image file, without mapping it. Raises as ``map_file`` does."""
    with open(path, "rb") as f:
        header, start, _ = _read_header(f, path)
        f.seek(start)
        if zlib.crc32(f.read()) != header["crc"]:
            raise ValueError(f"{path} is damaged")
    about: dict[str, Any] = header["info"]
    return about


def _read_header(f: BinaryIO, path: str | os.PathLike[str]) -> tuple[dict[str, Any], int, int]:
    """The header, where the code starts, and how long the file is; its length and owner are checked."""
    head = f.read(_FIXED)
    if len(head) < _FIXED or head[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{path} is no kernel image")
    length, start, crc = struct.unpack_from("<III", head, len(MAGIC))
    text = f.read(length)
    if zlib.crc32(text) != crc or start % PAGE or start < _FIXED + length:
        raise ValueError(f"{path} is damaged")
    header = json.loads(text)
    status = os.fstat(f.fileno())
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise ValueError(f"{path} belongs to another user")
    if hasattr(os, "getuid") and status.st_mode & 0o022:
        raise ValueError(f"{path} can be written by others")
    if status.st_size != start + header["size"]:
        raise ValueError(f"{path} is cut off: {status.st_size} of {start + header['size']} bytes")
    return header, start, status.st_size


def map_image(image: Image) -> Mapped:
    """Puts an image into executable memory of its own."""
    memory = mmap.mmap(
        -1, max(len(image.code), 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE
    )
    memory[: len(image.code)] = image.code
    address = _address(memory)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(len(memory)), mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "cannot make memory executable")
    _kept.append(memory)
    return Mapped({n: address + at for n, at in image.symbols.items()}, image.info)


def _mapped(memory: mmap.mmap, start: int, header: dict[str, Any]) -> Mapped:
    _kept.append(memory)
    base = _address(memory) + start
    return Mapped({n: base + at for n, at in header["symbols"].items()}, header["info"])


def _address(memory: mmap.mmap) -> int:
    import numpy as np

    return int(np.frombuffer(memory, np.uint8).ctypes.data)
