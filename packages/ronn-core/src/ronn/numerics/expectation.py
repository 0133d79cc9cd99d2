"""What outputs should be: as reference kernels make them, as ONNX Runtime does, or as given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import OptionError
from ronn.numerics.candidate import Candidate
from ronn.numerics.interpret import Interpreter, NobodyComputes, reference_targets
from ronn.numerics.samples import Sample, restore
from ronn.partition import Target
from ronn.values import ValueInfo

if TYPE_CHECKING:
    from ronn.model import Model
    from ronn.numerics.runtime import OnnxRuntime

REFERENCE, ONNXRUNTIME = "reference", "onnxruntime"

Against = "str | os.PathLike[str] | Mapping[str, Any]"


class Expectation:
    """The expected outputs of samples of one model.

    kernels: whether RONN's own reference kernels say what they are. runtime: ONNX Runtime, when that does.
    """

    def __init__(self, model: Model, targets: Sequence[Target], against: Any) -> None:
        self.interpreter = Interpreter(model.ir.functions, reference_targets(targets))
        self.kernels = False
        self.runtime: OnnxRuntime | None = None
        self._given: Mapping[str, Any] | None = None
        if isinstance(against, Mapping):
            self._given = {k: np.asarray(v) if isinstance(v, np.generic) else v for k, v in against.items()}
        elif against == REFERENCE:
            self.kernels = True
        elif against == ONNXRUNTIME:
            from ronn.numerics.runtime import OnnxRuntime

            self.runtime = OnnxRuntime(model.ir, optimise=False)
        else:
            self._given = _read(against, model.outputs)
        known = [info.name for info in model.outputs]
        for name in self._given if self._given is not None else ():
            if name not in known:
                raise OptionError(f"the model has no output {name!r}; it gives {', '.join(known)}")

    def of(self, candidate: Candidate, sample: Sample) -> Mapping[str, Any]:
        """The expected outputs of one sample by name."""
        if self._given is not None:
            return self._given
        if self.runtime is not None:
            return self.runtime.run(sample.feed)
        try:
            return self.interpreter.outputs(candidate.imported(), candidate.values)
        except NobodyComputes as e:
            hint = 'compare with against="onnxruntime", or with outputs that you have'
            raise NobodyComputes(f"no reference kernel says what is expected: {e.message}", hint=hint) from e


def _read(path: str | os.PathLike[str], outputs: Sequence[ValueInfo]) -> dict[str, Any]:
    file = Path(path)
    if file.suffix != ".npz" or not file.is_file():
        raise OptionError(
            f"against={str(path)!r} is nothing to compare with",
            hint='"reference", "onnxruntime", or an existing .npz file of expected outputs by name',
        )
    with np.load(file, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    texts = {k: v.astype(object) if v.dtype.kind == "U" else v for k, v in found.items()}
    return {k: restore(v, k, outputs) for k, v in texts.items()}
