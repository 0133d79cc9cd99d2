"""Options that the CPU provider cannot honour are refused, not ignored."""

from __future__ import annotations

import numpy as np
import pytest
from native_support import one_node

import ronn
from ronn.errors import OptionError


def test_products_in_bfloat16_are_refused() -> None:
    x = np.ones((2, 3), np.float32)
    model = one_node("Relu", {"x": x})
    with pytest.raises(OptionError, match="bf16"):
        ronn.Session(model, providers=["cpu"], options={"precision": "bf16"}).run({"x": x})
    assert ronn.Session(model, providers=["cpu"], options={"precision": "float32"}).run({"x": x})[0].all()
