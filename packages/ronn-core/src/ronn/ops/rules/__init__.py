"""Shape and type rules by family. Importing this package registers them all."""

from ronn.ops.rules import (
    attention,
    classical,
    control,
    convolution,
    creation,
    elementwise,
    indexing,
    matrix,
    normalisation,
    quantised,
    recurrent,
    reduction,
    resampling,
    reshaping,
    sequences,
    slicing,
)

__all__ = [
    "attention",
    "classical",
    "control",
    "convolution",
    "creation",
    "elementwise",
    "indexing",
    "matrix",
    "normalisation",
    "quantised",
    "recurrent",
    "reduction",
    "resampling",
    "reshaping",
    "sequences",
    "slicing",
]
