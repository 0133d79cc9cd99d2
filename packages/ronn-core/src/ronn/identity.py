"""What constants are made of: those of one file and one recipe are known to be equal without being compared.

Sessions of the same file, or of the same ``Model``, make the same constants anew, each for itself. By their identity
the packed forms of these are found again.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ronn.mapped import file_of

if TYPE_CHECKING:
    from ronn.ir.graph import Value

Identity = Hashable

_SMALL = 4096  # bytes of a source that is known by its content
_known: dict[int, tuple[weakref.ref[np.ndarray], Identity]] = {}


def identity(array: np.ndarray) -> Identity | None:
    """Something that is equal for arrays of equal elements, type and shape; None where nothing is known.

    Arrays are read-only, as constants are.
    """
    found = _known.get(id(array))
    if found is not None and found[0]() is array:
        return found[1]
    file = file_of(array)
    if file is not None:
        return _note(array, ("file", file.key, file.offset_of(array), array.shape, array.strides, array.dtype))
    return None


def made_of(value: Value, sources: Sequence[Value], *how: Hashable) -> None:
    """Says that a constant is what ``how`` makes of the sources, whenever it is made of equal ones."""
    arrays = [s.data for s in sources if s.data is not None]
    parts = [_content(a) if a.nbytes <= _SMALL else identity(a) for a in arrays]
    if value.data is not None and len(arrays) == len(sources) and None not in parts:
        _note(value.data, ("made", how, tuple(parts)))


def _content(array: np.ndarray) -> Identity | None:
    return None if array.dtype == object else (array.dtype, array.shape, array.tobytes())


def _note(array: np.ndarray, found: Identity) -> Identity:
    place = id(array)

    def forget(ref: weakref.ref[np.ndarray]) -> None:
        held = _known.get(place)
        if held is not None and held[0] is ref:
            del _known[place]

    _known[place] = weakref.ref(array, forget), found
    return found
