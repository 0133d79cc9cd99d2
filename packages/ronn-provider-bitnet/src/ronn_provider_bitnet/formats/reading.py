"""Packed tensors of a file, by its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ronn.errors import ModelError
from ronn_provider_bitnet.formats.ternary import Ternary


def read(path: str | Path, *, tell: Callable[[str], None] | None = None) -> dict[str, Ternary]:
    """The ternary tensors of a checkpoint by the names of their layers (without ``.weight``).

    path: a ``.gguf`` file, a ``.safetensors`` file, or a folder of those with its ``config.json``.
    tell: is given the name of each tensor before it is unpacked.
    """
    path = Path(path)
    if path.suffix == ".gguf":
        from ronn_provider_bitnet.formats.ggml import read_gguf

        return read_gguf(path, tell=tell)
    if path.suffix == ".safetensors" or path.is_dir():
        from ronn_provider_bitnet.formats.huggingface import read_safetensors

        return read_safetensors(path, tell=tell)
    raise ModelError(f"{path}: not a checkpoint that can be read", hint="name a .gguf, a .safetensors, or their folder")


@contextmanager
def extra(library: str) -> Iterator[None]:
    """Turns the want of an optional library into an error that says how to get it."""
    try:
        yield
    except ImportError as e:
        raise ModelError(
            f"reading this needs the library {library}", hint=f"pip install 'ronn-provider-bitnet[{library}]'"
        ) from e
