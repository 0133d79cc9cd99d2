"""Inputs in small batches, and their labels: what models are calibrated and judged with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import InputError
from ronn.numerics.samples import Data, Reading, Sample, read_samples
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.values import ValueInfo

Array = np.ndarray
ROWS = 64
"""Rows that run at once where a model leaves the first axis of its inputs open."""
MADE_UP = 4
"""Samples that are made up where there are no data."""


@dataclass(frozen=True)
class Batches:
    """Feeds for runs, in order. made_up: whether some of the inputs were."""

    feeds: tuple[Mapping[str, Any], ...]
    made_up: bool
    name: str

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.feeds)

    def __len__(self) -> int:
        return len(self.feeds)


def read_batches(data: Data, inputs: Sequence[ValueInfo], reading: Reading, most: int = ROWS) -> Batches:
    """The samples of ``data`` (as ``ronn compare`` takes them; None: made up), those with many rows cut into batches.

    Rows are along the first axis: ``most`` at once where the model leaves it open, as many as it fixes otherwise.
    Raises InputError for files that cannot be read.
    """
    samples = read_samples(f"random:{MADE_UP}" if data is None else data, inputs, reading)
    made_up = any("made up" in s.name for s in samples)
    feeds = [feed for sample in samples for feed in _cut(sample, inputs, most)]
    names = [s.name for s in samples]
    return Batches(tuple(feeds), made_up, names[0] if len(names) == 1 else f"{names[0]} ... ({len(names)} samples)")


def _cut(sample: Sample, inputs: Sequence[ValueInfo], most: int) -> Iterator[Mapping[str, Any]]:
    given = {i.name: sample.feed[i.name] for i in inputs if i.name in sample.feed}
    arrays = {name: np.asarray(value) for name, value in given.items() if not isinstance(value, (dict, type(None)))}
    rows = {a.shape[0] if a.ndim else 0 for a in arrays.values()}
    firsts = {i.shape[0] if i.shape else None for i in inputs}
    if len(arrays) != len(given) or len(rows) != 1 or len(firsts) != 1:
        yield sample.feed
        return
    (total,), (first,) = rows, firsts
    step = first if isinstance(first, int) else most
    if first is None or step < 1 or total <= step or total % (step if isinstance(first, int) else 1):
        yield sample.feed
        return
    for start in range(0, total, step):
        yield {name: a[start : start + step] for name, a in arrays.items()}


def read_labels(labels: Any) -> Array:
    """Labels as a flat array of integers, from an array, or a file of .npy or of one array in .npz.

    Raises InputError for what is none.
    """
    if isinstance(labels, (str, Path)):
        path = Path(labels)
        try:
            loaded = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as e:
            raise InputError(f"{path}: cannot be read as labels: {e}", hint="--labels labels.npy") from e
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                if len(loaded.files) != 1:
                    raise InputError(f"{path}: holds {len(loaded.files)} arrays, not one of labels")
                loaded = loaded[loaded.files[0]]
        labels = loaded
    found = np.asarray(labels)
    if found.dtype.kind not in "iu" or not found.size:
        raise InputError(f"labels are {found.dtype}{list(found.shape)}, not whole numbers, one a row")
    return found.reshape(-1)
