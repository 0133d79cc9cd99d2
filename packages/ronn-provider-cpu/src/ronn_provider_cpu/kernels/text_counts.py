"""TextCounts of the ``ronn.cpu`` domain (see ``ronn_provider_cpu.text_ops``).

Texts go through a native kernel, as the bytes of one long text; where that cannot tell what the attributes ask for, or
a text holds what it cannot tell, they go through the functions of ``_text``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn.plan.segment import address
from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.native.library import Kernel, pack
from ronn_codegen.templates.text_tables import text_tables
from ronn_provider_cpu.kernels._text import CASE, Grams, cutter
from ronn_provider_cpu.kernels._word_bytes import WordBytes, word_bytes
from ronn_provider_cpu.text_ops import DOMAIN

_MODULE, _KERNEL = "ronn_codegen.templates.text", "count_grams_f32"
_BEHIND = "\0"
_LONGEST = 1 << 24  # characters; counts up to this are exact in float32


@kernel("TextCounts", domain=DOMAIN, prepare=True)
def text_counts(ctx: KernelContext) -> Callable[..., np.ndarray]:
    action = ctx.attr("case_change_action")
    change = CASE[action] if action is not None else str
    tokens, grams = cutter(ctx), Grams.of(ctx)
    native = _native(ctx, change, grams)

    def call(x: np.ndarray) -> np.ndarray:
        texts = x.reshape(-1).tolist()
        if native is not None:
            counts = native.count(texts)
            if counts is not None:
                return counts
        if action is not None and not texts:
            texts = [""]
        return grams.count(tokens([change(s) for s in texts]))

    return call


def _native(ctx: KernelContext, change: Callable[[str], str], grams: Grams) -> _Native | None:
    """None where the native kernel cannot do what the attributes ask for, or native kernels are off."""
    from ronn_provider_cpu.compiling import native_library

    cut = word_bytes(ctx)
    library = native_library() if ctx.options.get("kernels", "native") == "native" else None
    if library is None or cut is None or grams.skips > 0 or grams.longest < 1:
        return None
    return _Native(library.kernel(_MODULE, _KERNEL), change, cut, grams)


class _Native:
    """Counts on the native kernel."""

    def __init__(self, kernel: Kernel, change: Callable[[str], str], cut: WordBytes, grams: Grams) -> None:
        self._change, self._cut, self._grams, self._entry = change, cut, grams, kernel.entry
        self._tables = tables = text_tables(grams.columns)
        given = {
            "inside": address(cut.inside), "alone": cut.alone, "fewest": cut.fewest, "words": address(tables.words),
            "word_mask": len(tables.words) - 1, "spelled": address(tables.spelled), "grams": address(tables.grams),
            "gram_mask": len(tables.grams) - 1, "columns": address(tables.columns), "vocabulary": tables.vocabulary,
            "shortest": grams.shortest, "longest": grams.longest, "width": grams.width,
            "scale": 0 if grams.mode == "TF" else address(grams.scale), "once": grams.mode == "IDF",
        }  # fmt: skip
        names = [name for name, _ in kernel.signature.params]
        self._places = tuple(names.index(n) for n in ("text", "size", "rows", "y", "recent"))
        self._arguments = len(names)
        self._block = np.zeros(len(names) + grams.longest, np.int64)  # what follows the arguments is scratch
        self._block[: len(names)] = pack(kernel.signature, [given.get(n, 0) for n in names])

    def count(self, texts: list[str]) -> np.ndarray | None:
        """float32[texts, width]; None for texts that the kernel is not good for."""
        rows = len(texts)
        joined = self._change(_BEHIND.join([*texts, ""]))
        plain = joined.isascii()
        if not rows or len(joined) > _LONGEST or joined.count(_BEHIND) != rows or (self._cut.ascii and not plain):
            return None
        data = np.frombuffer(joined.encode() if plain else joined.encode("utf-8", "surrogatepass"), np.uint8)
        counts = np.zeros((rows, self._grams.width), np.float32)
        block = self._block.copy()
        start = address(block)
        values = address(data), data.size, rows, address(counts), start + 8 * self._arguments
        for place, value in zip(self._places, values):
            block[place] = value
        self._entry(start, 0, 1)
        return counts
