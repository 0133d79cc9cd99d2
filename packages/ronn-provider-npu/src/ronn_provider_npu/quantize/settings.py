"""How a model is quantised, as people ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from ronn.errors import OptionError
from ronn.records import dataclass
from ronn_provider_npu.quantize.ranges import METHODS
from ronn_provider_npu.quantize.scheme import Scheme

FORMS = ("qoperator", "qdq")
ROUNDINGS = ("nearest", "gptq")


@dataclass(frozen=True)
class Settings:
    """None: what does best on the calibration data, by measure.

    scheme: of bytes. method: of the ranges of activations, ``minmax``, ``percentile``, ``mse`` or ``entropy``.
    bias_correction: whether biases take back the average error of the weights. equalise: whether channels between
    convolutions are scaled to ranges alike. rounding: of weights, to the ``nearest``, or by ``gptq``. form:
    ``qoperator`` (operators on bytes) or ``qdq`` (float operators between QuantizeLinear and DequantizeLinear). skip:
    names of nodes that stay float.
    """

    scheme: Scheme = Scheme()
    method: str | None = None
    bias_correction: bool | None = None
    equalise: bool | None = None
    rounding: str | None = None
    form: str = FORMS[0]
    skip: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, text, allowed in (
            ("method", self.method, METHODS),
            ("form", self.form, FORMS),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if text is not None and text not in allowed:
                raise OptionError(f"{name} {text!r} is not one of {', '.join(allowed)}")
