"""The parts of the example that are plain arithmetic, on made-up maps and scores; the models have no part in it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from examples.read_text import detection, picture, recognition


def test_components_are_the_connected_regions() -> None:
    mask = np.array(
        [
            [1, 1, 0, 0, 1],
            [0, 1, 0, 1, 1],
            [0, 0, 0, 0, 0],
            [1, 0, 1, 0, 0],
            [1, 1, 1, 0, 1],
        ],
        bool,
    )
    found = {frozenset(map(tuple, region.tolist())) for region in detection.components(mask)}
    assert found == {
        frozenset({(0, 0), (1, 0), (1, 1)}),
        frozenset({(4, 0), (3, 1), (4, 1)}),
        frozenset({(0, 3), (0, 4), (1, 4), (2, 4), (2, 3)}),
        frozenset({(4, 4)}),
    }


def test_components_against_a_flood_fill() -> None:
    mask = np.random.default_rng(7).random((40, 53)) < 0.55
    seen = np.zeros_like(mask)
    expected = set()
    for y, x in zip(*np.nonzero(mask), strict=True):
        if not seen[y, x]:
            region, edge = set(), [(int(x), int(y))]
            seen[y, x] = True
            while edge:
                cx, cy = edge.pop()
                region.add((cx, cy))
                for nx, ny in ((cx + 1, cy), (cx - 1, cy), (cx, cy + 1), (cx, cy - 1)):
                    inside = 0 <= nx < 53 and 0 <= ny < 40
                    if inside and mask[ny, nx] and not seen[ny, nx]:
                        seen[ny, nx] = True
                        edge.append((nx, ny))
            expected.add(frozenset(region))
    assert {frozenset(map(tuple, r.tolist())) for r in detection.components(mask)} == expected


@pytest.mark.parametrize("degrees", [0, 7, -20, 44])
def test_smallest_rectangle_of_a_turned_strip(degrees: float) -> None:
    angle = np.radians(degrees)
    ys, xs = np.mgrid[0:200, 0:300]
    along = (xs - 150) * np.cos(angle) + (ys - 100) * np.sin(angle)
    across = -(xs - 150) * np.sin(angle) + (ys - 100) * np.cos(angle)
    pixels = np.argwhere((abs(along) <= 80) & (abs(across) <= 12))[:, ::-1]
    corners = detection.smallest_rectangle(pixels)
    assert np.linalg.norm(corners[1] - corners[0]) == pytest.approx(161, abs=3)
    assert np.linalg.norm(corners[3] - corners[0]) == pytest.approx(25, abs=3)
    assert corners.mean(axis=0) == pytest.approx([150.5, 100.5], abs=1)


def test_boxes_are_grown_scaled_and_in_reading_order() -> None:
    probability = np.zeros((64, 96), np.float32)
    probability[40:50, 10:60] = 0.9
    probability[5:13, 50:90] = 0.8
    probability[30:34, 5:40] = 0.4  # marked, but not surely enough
    boxes = detection.find_boxes(probability, (192, 128))
    assert [round(box.score, 1) for box in boxes] == [0.8, 0.9]
    x0, y0 = boxes[1].corners[0]
    assert x0 < 20 and y0 < 80, "grown beyond the marked region, in pixels of the picture"
    assert boxes[1].corners[2, 0] > 120


def test_nothing_in_an_empty_map() -> None:
    assert detection.find_boxes(np.zeros((32, 32), np.float32), (32, 32)) == []


def test_grow_moves_each_side_by_the_distance() -> None:
    square = np.array([(10.0, 10.0), (20.0, 10.0), (20.0, 20.0), (10.0, 20.0)])
    assert detection.grow(square, 3).tolist() == [[7, 7], [23, 7], [23, 23], [7, 23]]


def test_prepared_picture_has_sides_that_the_model_takes() -> None:
    array = detection.prepare(Image.new("RGB", (2000, 333)))
    assert array.shape == (1, 3, 160, 960) and array.dtype == np.float32


def test_ctc_collapses_repeats_and_keeps_doubles_apart() -> None:
    alphabet = ["", "l", "o", " "]
    columns = [2, 2, 0, 1, 1, 0, 1, 3, 2]
    scores = np.full((len(columns), 4), 0.05)
    scores[np.arange(len(columns)), columns] = 0.85
    assert recognition.decode(scores, alphabet) == ("oll o", pytest.approx(0.85))
    assert recognition.decode(np.eye(4)[[0, 0]], alphabet) == ("", 0.0)


def test_recognise_keeps_the_order_of_strips_and_pads_to_one_width() -> None:
    strips = [Image.new("RGB", (w, 24), "white") for w in (300, 20, 90)]
    shapes = []

    def run(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        widths = (batch[:, 0, 0] == 1).sum(axis=1)
        return np.eye(700)[widths][:, None, :]  # the class number tells the width of the strip

    texts = recognition.recognise(strips, run, [str(i) for i in range(700)])
    assert [text for text, _ in texts] == ["600", "40", "180"]
    assert shapes == [(3, 3, 48, 608)]


def test_alphabet_has_blank_first_and_space_last() -> None:
    assert recognition.alphabet_of({"character": "a\nb"}) == ["", "a", "b", " "]


def test_cut_of_a_level_box_is_the_picture_itself() -> None:
    image = picture.draw_sample()
    corners = np.array([(40.0, 18.0), (240.0, 18.0), (240.0, 68.0), (40.0, 68.0)])
    strip = picture.cut(image, corners)
    assert strip.size == (200, 50)
    difference = np.asarray(strip, int) - np.asarray(image.crop((40, 18, 240, 68)), int)
    assert abs(difference).mean() < 8
