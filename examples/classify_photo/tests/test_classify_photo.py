"""What goes into the model and what is read from it, without the model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from examples.classify_photo.__main__ import MEAN, STD, best, prepare


def test_the_middle_of_a_photo_is_normalised() -> None:
    photo = Image.new("RGB", (400, 200), "black")
    photo.paste("white", (100, 0, 300, 200))  # the square in the middle
    array = prepare(photo)
    assert (array.shape, array.dtype) == ((3, 224, 224), np.float32)
    assert array == pytest.approx(np.broadcast_to(((1 - MEAN) / STD)[:, None, None], array.shape), abs=1e-6)


def test_the_best_names_come_first() -> None:
    found = best(np.log(np.array([1.0, 5.0, 4.0])), ["dog", "cat", "fox"], count=2)
    assert found == [("cat", pytest.approx(0.5)), ("fox", pytest.approx(0.4))]
