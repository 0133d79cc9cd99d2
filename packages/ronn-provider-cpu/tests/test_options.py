"""Options that the CPU provider cannot honour are refused, not ignored."""

from __future__ import annotations

import numpy as np
import pytest
from native_support import one_node

import ronn
from ronn.errors import OptionError


def test_an_unknown_precision_is_refused() -> None:
    x = np.ones((2, 3), np.float32)
    model = one_node("Relu", {"x": x})
    with pytest.raises(OptionError, match="int2"):
        ronn.Session(model, providers=[("cpu", {"precision": "int2"})]).run({"x": x})
    for precision in ("float32", "bf16"):
        assert ronn.Session(model, providers=[("cpu", {"precision": precision})]).run({"x": x})[0].all()
