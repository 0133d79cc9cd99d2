"""What a model file may ask for. A file beyond these bounds is refused with ``ModelError``.

Four of them are options (``SessionOptions``, ``ronn.load(options=...)``); the others hold for every file.
"""

from __future__ import annotations

from collections.abc import Iterable

from ronn.frontend.refused import Refused
from ronn.records import dataclass

MAX_RANK = 64
MAX_DEPTH = 64  # the largest value of the option max_depth
MAX_ELEMENTS = 2**48  # of one tensor
MAX_NAME = 65_536  # characters of one name
MAX_SPARSE_BYTES = 2**31  # of a sparse tensor once it is dense
MAX_TEXT_NESTING = 200  # brackets within brackets of a text-format file


class LimitError(Refused):
    """Something in a file is beyond an option: what the file has (``found``), which option, and what would do."""

    def __init__(self, found: str, option: str, limit: int, need: int | None = None) -> None:
        hint = None if need is None else f'if you trust the file, allow more: options={{"{option}": {need}}}'
        super().__init__(f"{found}, and {option} is {limit}", hint)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that are options. Bytes may be None: no bound."""

    max_model_bytes: int | None = None
    max_tensor_bytes: int | None = None
    max_nodes: int = 4_000_000
    max_depth: int = MAX_DEPTH

    def check_model(self, nbytes: int, what: str = "") -> None:
        """LimitError when a file, or a file and its external data, have more bytes than they may."""
        if self.max_model_bytes is not None and nbytes > self.max_model_bytes:
            raise LimitError(f"has {nbytes} bytes{what}", "max_model_bytes", self.max_model_bytes, nbytes)

    def check_tensor(self, nbytes: int) -> None:
        """LimitError when a tensor takes more bytes than it may."""
        if self.max_tensor_bytes is not None and nbytes > self.max_tensor_bytes:
            raise LimitError(f"takes {nbytes} bytes", "max_tensor_bytes", self.max_tensor_bytes, nbytes)

    def check_nodes(self, count: int, what: str = "") -> None:
        """LimitError when there are more nodes than there may be."""
        if count > self.max_nodes:
            raise LimitError(f"has {count} nodes{what}", "max_nodes", self.max_nodes, count)

    def check_depth(self, depth: int, what: str) -> None:
        """LimitError when ``what`` (graphs, types, calls) goes deeper than it may."""
        if depth > self.max_depth:
            need = depth if depth <= MAX_DEPTH else None
            raise LimitError(f"{what} {depth} deep or more", "max_depth", self.max_depth, need)


DEFAULTS = Limits()


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
