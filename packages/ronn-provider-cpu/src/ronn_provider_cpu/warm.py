"""The machine-code cache as commands see it: everything compiled ahead, and what there is."""

from __future__ import annotations

from collections.abc import Sequence

from ronn.errors import ProviderError
from ronn.provider.contract import CachedFile, Progress
from ronn_codegen.native.cache import ABOUT, code_folder
from ronn_codegen.native.library import BuildError
from ronn_codegen.native.sources import kernel_modules
from ronn_provider_cpu.compiling import native_library

PACKAGES = ("ronn_codegen.templates", "ronn_provider_cpu.engine")


def warm_up(progress: Progress | None = None) -> int:
    """Compiles every kernel module that this machine's cache lacks; how many that were."""
    kernels = native_library()
    if kernels is None:
        return 0
    before = kernels.compiles_here
    try:
        kernels.require([m for package in PACKAGES for m in kernel_modules(package)], progress)
    except BuildError as e:
        raise ProviderError(str(e)) from e
    return kernels.compiles_here - before


def cached_files() -> Sequence[CachedFile]:
    """The images in the code cache, of every kind of machine that used it."""
    kernels = native_library()
    own = None if kernels is None else kernels.cache.folder
    found = []
    for folder in sorted(code_folder().glob("*")):
        if not folder.is_dir():
            continue
        about = folder / ABOUT
        told = about.read_text(encoding="utf-8").strip() if about.is_file() else "unknown machine"
        group = f"cpu: {told}, {folder.name}"
        found += [CachedFile(f, group, folder == own) for f in sorted(folder.iterdir()) if f.name.endswith(".img")]
    return found
