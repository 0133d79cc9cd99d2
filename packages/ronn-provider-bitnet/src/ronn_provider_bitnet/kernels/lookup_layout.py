"""The layout of binary and ternary weights for ``kernels.lookups``: 16-bit words of three look-ups. No compiler is
imported.

A word has the digits of neighbouring weights of a row, in fields: the first field in its lowest bits. A field is the
number of an entry in a table of all sums that so many activations can give.
"""

from __future__ import annotations

import numpy as np

from ronn.records import dataclass
from ronn_provider_bitnet.kernels.memory import streamed_zeros

Array = np.ndarray
LANES, VECTORS = 32, 4
ROWS = LANES * VECTORS
"""Rows of weights in a panel."""
TABLE = 64  # bytes: 32 sums of 16 bits
LINES = 4
"""Rows of activations, or planes of them, whose sums registers hold."""
TOGETHER = 32
"""Rows of activations whose sums stay in the second-level cache."""
APART = 4
"""Rows are shared out, and not columns, where each worker gets so many tiles of them."""


@dataclass(frozen=True)
class Form:
    """How weights are looked up. ``fields``: weights in each field of a word; a weight is a digit in ``base``, and
    counts as much as the digit plus ``first``. ``most``: words whose sums of signed bytes 16 bits always hold."""

    name: str
    base: int
    first: int
    fields: tuple[int, ...]
    most: int

    @property
    def step(self) -> int:
        """Weights in a word."""
        return sum(self.fields)

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of each field."""
        return tuple((self.base**count - 1).bit_length() for count in self.fields)

    @property
    def shifts(self) -> tuple[int, ...]:
        """The lowest bit of each field."""
        return tuple(sum(self.widths[:i]) for i in range(len(self.fields)))

    @property
    def starts(self) -> tuple[int, ...]:
        """The first weight of each field."""
        return tuple(sum(self.fields[:i]) for i in range(len(self.fields)))

    @property
    def tables(self) -> int:
        """Tables of 32 entries for the activations of a word."""
        return sum((1 << width) // LANES for width in self.widths)

    def words(self, elements: int) -> int:
        """Words for so many elements of K."""
        return -(-elements // self.step)

    def digits(self, field: int) -> Array:
        """int[entries, count]: the digits of the entries of a field's tables; entries that no weights have are 0."""
        count = self.fields[field]
        numbers = np.arange(1 << self.widths[field])
        made = numbers[:, None] // self.base ** np.arange(count) % self.base
        made[numbers >= self.base**count] = 0
        return made


BINARY = Form("binary", 2, 0, (6, 5, 5), 16)
"""One bit a weight: 16 in a word, whose sums are at most 16 * 128 away from zero, and -32768 at most in 16 words."""
TERNARY = Form("ternary", 3, -1, (3, 3, 3), 28)
"""1.78 bits a weight: 9 in a word, whose sums are at most 9 * 128 away from zero."""
FORMS = {form.name: form for form in (BINARY, TERNARY)}


def tile_rows(planes: int) -> tuple[int, ...]:
    """Rows of activations of each tile."""
    return tuple(1 << i for i in range((LINES // planes).bit_length()))


def sums_bytes(m: int, n: int, planes: int, shares: int) -> int:
    """Bytes of memory for the sums of m rows of activations and n of weights, in at most so many shares."""
    return 4 * -(-n // ROWS) * ROWS * min(m + tile_rows(planes)[-1] * (shares + 1), TOGETHER * shares)


def pack_lookups(codes: Array, form: Form, group: int = 0, scales: Array | None = None) -> Array:
    """Codes uint8[N, K] (digits of ``form``) as uint16.

    In chunks of ``most`` words along K (the last may be shorter), in each the panels of 128 rows, in each word after
    word the rows'. With ``scales`` f32[N, groups] a chunk is a group of ``group`` elements, and in front of a panel's
    words are the scales of its rows. What is missing of rows, groups and words is 0: a digit whose activation is 0, or
    a row that nobody asks for.
    """
    n, k = codes.shape
    panels = -(-n // ROWS)
    width = form.most * form.step if scales is None else group
    words = form.words(width)
    facts = 0 if scales is None else ROWS * 2
    sizes = [facts + ROWS * form.words(min(width, k - at) if scales is None else width) for at in range(0, k, width)]
    out = streamed_zeros((panels * sum(sizes),), np.uint16)
    begin = 0
    for i, size in enumerate(sizes):
        part = codes[:, i * width : (i + 1) * width]
        count = (size - facts) // ROWS
        digits = np.zeros((panels * ROWS, count * form.step), np.uint16)
        digits[:n, : part.shape[1]] = part
        digits = digits.reshape(panels * ROWS, count, form.step)
        found = np.zeros((panels * ROWS, count), np.uint16)
        for start, weights, shift in zip(form.starts, form.fields, form.shifts, strict=True):
            factors = form.base ** np.arange(weights, dtype=np.uint16)
            found |= (digits[..., start : start + weights] @ factors).astype(np.uint16) << np.uint16(shift)
        place = out[begin : begin + panels * size].reshape(panels, size)
        if scales is not None:
            full = np.zeros(panels * ROWS, np.float32)
            full[:n] = scales[:, i]
            place[:, :facts] = full.view(np.uint16).reshape(panels, facts)
        place[:, facts:] = found.reshape(panels, ROWS, count).transpose(0, 2, 1).reshape(panels, -1)
        begin += panels * size
    assert words <= form.most
    return out
