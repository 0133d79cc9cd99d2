"""Embeddings: the vector by which memory finds similar inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ronn.records import dataclass, field


@dataclass(frozen=True, slots=True)
class FromOutput:
    """A tensor of the cheap model: an output, or any value inside of it, by name. Flattened, one row."""

    name: str

    def fits(self, inputs: Mapping[str, Any]) -> bool:
        """Whether there is an embedding of such inputs."""
        return True

    def as_data(self) -> dict[str, Any]:
        return {"kind": "output", "name": self.name}


@dataclass(frozen=True, slots=True)
class FromInput:
    """An input, flattened, times ``projection`` (float32 [elements, dims]; None: as it is). ``principal`` makes one."""

    name: str
    projection: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def principal(cls, name: str, samples: np.ndarray, dims: int = 64) -> FromInput:
        """The ``dims`` principal directions of samples [N, ...] (which no calibration record may be among)."""
        rows = np.asarray(samples, np.float64).reshape(len(samples), -1)
        rows = rows - rows.mean(axis=0)
        values, vectors = np.linalg.eigh(rows.T @ rows)
        best = np.argsort(values)[::-1][:dims]
        return cls(name, np.ascontiguousarray(vectors[:, best], np.float32))

    def fits(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the input has the size that the projection takes."""
        return self.projection is None or np.size(inputs[self.name]) == len(self.projection)

    def of(self, inputs: Mapping[str, Any]) -> np.ndarray:
        row = np.asarray(inputs[self.name], np.float32).reshape(-1)
        return row if self.projection is None else row @ self.projection

    def as_data(self) -> dict[str, Any]:
        import hashlib

        said = b"" if self.projection is None else self.projection.tobytes()
        return {"kind": "input", "name": self.name, "projection": hashlib.blake2b(said, digest_size=8).hexdigest()}


@dataclass(frozen=True, slots=True)
class FromFunction:
    """A function of the inputs (a mapping) that gives a vector. name: stands for it in fingerprints."""

    function: Callable[[Mapping[str, Any]], np.ndarray]
    name: str

    def of(self, inputs: Mapping[str, Any]) -> np.ndarray:
        return np.asarray(self.function(inputs), np.float32).reshape(-1)

    def as_data(self) -> dict[str, Any]:
        return {"kind": "function", "name": self.name}


Embed = FromOutput | FromInput | FromFunction


def rounded(vector: np.ndarray) -> np.ndarray:
    """As memory keeps it: float16, which what was searched live must equal later."""
    return vector.astype(np.float16).astype(np.float32)
