"""The machine-code cache survives whatever happens to its files."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from ronn_codegen.native.cache import ABOUT, CodeCache, problem
from ronn_codegen.native.image import Image
from ronn_codegen.native.sources import kernel_modules

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="images hold x86-64 code for Linux"
)


def image(number=42):
    """A function that writes ``number`` to where its first argument points: mov qword [rdi], number; ret."""
    return Image(b"\x48\xc7\x07" + number.to_bytes(4, "little") + b"\xc3", {"answer": 0}, {"text": "an answer"})


def answer(mapped):
    out = np.zeros(1, np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(mapped.symbols["answer"])(out.ctypes.data)
    return int(out[0])


@pytest.fixture
def cache(tmp_path):
    return CodeCache(tmp_path / "ronn" / "code" / "machine", "a machine")


def test_what_is_stored_is_found_and_runs(cache):
    assert cache.load("a") is None
    assert answer(cache.store("a", image())) == 42
    found = cache.load("a")
    assert answer(found) == 42 and found.info == {"text": "an answer"}
    assert (cache.folder / ABOUT).read_text() == "a machine\n"
    assert problem(cache.path("a")) == ""


def test_only_the_owner_can_look_in(cache):
    cache.folder.mkdir(parents=True, mode=0o755)
    cache.store("a", image())
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(cache.path("a").stat().st_mode) == 0o600


def test_any_cut_is_noticed(cache):
    cache.store("a", image())
    whole = cache.path("a").read_bytes()
    for length in [*range(0, 300), 4000, 4095, 4096, 4097, len(whole) - 1]:
        cache.path("a").write_bytes(whole[:length])
        assert cache.load("a") is None and problem(cache.path("a"))
    cache.path("a").write_bytes(whole + b"\0")
    assert cache.load("a") is None
    assert answer(cache.store("a", image())) == 42 and answer(cache.load("a")) == 42


def test_any_flipped_byte_is_noticed(cache):
    cache.store("a", image())
    whole = cache.path("a").read_bytes()
    filled = len(whole[:4096].rstrip(b"\0"))
    for place in [*range(filled), *range(4096, len(whole))]:
        damaged = bytearray(whole)
        damaged[place] ^= 0x11
        cache.path("a").write_bytes(damaged)
        assert cache.load("a") is None, place
        assert problem(cache.path("a"))


@pytest.mark.parametrize("junk", [b"", b"RONNIMG1", b"RONNIMG2" + bytes(12), os.urandom(9000), b"\x7fELF" * 3000])
def test_files_that_are_no_images(cache, junk):
    cache.folder.mkdir(parents=True)
    cache.path("a").write_bytes(junk)
    assert cache.load("a") is None and problem(cache.path("a"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = CodeCache(tmp_path / "file" / "code" / "machine")
    assert answer(cache.store("a", image())) == 42
    assert cache.load("a") is None


def test_a_full_disk_leaves_nothing_behind(cache, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert answer(cache.store("a", image())) == 42
    assert [f.name for f in cache.folder.iterdir()] == [ABOUT]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_files_of_others_are_not_run(cache):
    cache.store("a", image())
    os.chown(cache.path("a"), 12345, 12345)
    assert cache.load("a") is None and "another user" in problem(cache.path("a"))
    assert answer(cache.store("a", image(43))) == 43 and answer(cache.load("a")) == 43


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("how", ["folder", "link"])
def test_folders_of_others_are_not_used(cache, how, tmp_path):
    """Whoever owns the folder could swap files of ours; nothing is read from it, and nothing is left in it."""
    cache.store("a", image())
    theirs = cache.folder
    if how == "link":
        theirs = cache.folder.rename(tmp_path / "theirs")
        cache.folder.symlink_to(theirs)
    os.chown(theirs, 12345, 12345)
    again = CodeCache(cache.folder)
    before = sorted(theirs.iterdir())
    assert again.load("a") is None
    assert answer(again.store("b", image(43))) == 43
    with again.compiling():
        pass
    assert sorted(theirs.iterdir()) == before


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o722, 0o755])
def test_a_folder_that_others_can_enter_is_closed(cache, mode):
    cache.store("a", image())
    cache.folder.chmod(mode)
    assert answer(CodeCache(cache.folder).load("a")) == 42
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_closed_is_not_used(cache, monkeypatch):
    cache.store("a", image())
    cache.folder.chmod(0o770)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)  # as on file systems without modes of their own
    again = CodeCache(cache.folder)
    assert again.load("a") is None and answer(again.store("a", image(43))) == 43


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o666])
def test_files_that_others_can_write_are_not_run(cache, mode):
    cache.store("a", image())
    cache.path("a").chmod(mode)
    assert cache.load("a") is None and "can be written by others" in problem(cache.path("a"))
    assert answer(cache.store("a", image(43))) == 43 and answer(cache.load("a")) == 43


def test_a_link_to_a_file_of_others_is_not_run(cache, tmp_path):
    """A link is followed, and what it leads to is held to the same rules."""
    cache.store("a", image())
    outside = cache.path("a").rename(tmp_path / "outside.img")
    cache.path("a").symlink_to(outside)
    assert answer(cache.load("a")) == 42
    outside.chmod(0o666)
    assert cache.load("a") is None


def test_a_file_system_that_nothing_may_be_executed_from(cache, monkeypatch):
    import mmap

    cache.store("a", image())
    real = mmap.mmap

    def refusing(handle, *rest, **kw):
        if handle != -1 and kw.get("prot", 0) & mmap.PROT_EXEC:
            raise PermissionError(1, "Operation not permitted")
        return real(handle, *rest, **kw)

    monkeypatch.setattr("ronn_codegen.native.image.mmap.mmap", refusing)
    assert answer(cache.load("a")) == 42


# --- processes

WRITER = """
    import os, signal, sys, time
    from pathlib import Path
    sys.path[:0] = [{tests!r}]
    from test_code_cache import answer, image
    from ronn_codegen.native.cache import CodeCache
    cache = CodeCache(Path({folder!r}))
"""


def start(cache: CodeCache, code: str) -> subprocess.Popen[str]:
    header = WRITER.format(tests=str(Path(__file__).parent), folder=str(cache.folder))
    text = textwrap.dedent(header) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_while_it_writes(cache):
    """Nothing of it is ever taken for an image, and what it left is cleared away by somebody later."""
    code = """
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    cache.store("a", image())
    """
    process = start(cache, code)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    left = list(cache.folder.glob(".*.img.*"))
    assert len(left) == 1
    assert cache.load("a") is None
    assert answer(cache.store("a", image())) == 42
    assert left[0].exists()  # its writer could still be alive
    os.utime(left[0], (time.time() - 4000, time.time() - 4000))
    CodeCache(cache.folder).store("b", image())
    assert not left[0].exists()
    assert answer(cache.load("a")) == 42


def test_processes_that_write_at_once(cache):
    code = """
    wrong = 0
    for i in range(300):
        wrong += answer(cache.store("a", image())) != 42
        found = cache.load("a")
        wrong += found is None or answer(found) != 42
    print(wrong)
    """
    processes = [start(cache, code) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out == "0\n"
    assert [f.name for f in cache.folder.iterdir()] == ["a.img"]


def test_kernel_modules_are_found_by_their_text():
    found = kernel_modules("ronn_codegen.templates")
    assert "ronn_codegen.templates.copy" in found and "ronn_codegen.templates.jobs" not in found
    with pytest.raises(ModuleNotFoundError):
        kernel_modules("ronn_codegen.nothing")
