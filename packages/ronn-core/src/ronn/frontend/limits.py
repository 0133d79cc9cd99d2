"""What a model file may ask for. A file beyond these bounds is refused with ``ModelError``."""

from __future__ import annotations

from collections.abc import Iterable

MAX_RANK = 64
MAX_ELEMENTS = 2**48  # of one tensor
MAX_NESTING = 64  # graphs within graphs, types within types
MAX_NODES = 4_000_000  # of one model, after every call of a model-local function is expanded
MAX_NAME = 65_536  # characters of one name
MAX_SPARSE_BYTES = 2**31  # of a sparse tensor once it is dense
MAX_TEXT_NESTING = 200  # brackets within brackets of a text-format file


def element_count(dims: Iterable[int]) -> int:
    """The number of elements of a tensor with these dims. ValueError when a dim is negative or a bound is passed."""
    shape = tuple(dims)
    if len(shape) > MAX_RANK:
        raise ValueError(f"rank {len(shape)} is above the bound of {MAX_RANK}")
    if any(d < 0 for d in shape):
        raise ValueError(f"dims {list(shape)} hold a negative number")
    count = 1
    for d in shape:
        count *= d
    # With a zero among the dims nothing is stored, but NumPy still multiplies the others.
    whole = 1
    for d in shape:
        whole *= d if d else 1
    if whole > MAX_ELEMENTS:
        raise ValueError(f"dims {list(shape)} ask for more than {MAX_ELEMENTS} elements")
    return count
