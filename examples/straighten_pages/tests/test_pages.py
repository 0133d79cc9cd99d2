"""Batches, order and turning, with a stand-in for the model that finds the dark corner of a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.straighten_pages import pages

CORNERS = {0: (0, 0), 90: (0, 1), 180: (1, 1), 270: (1, 0)}  # row, column of what is top left on an upright page


def by_corner(batch: np.ndarray) -> np.ndarray:
    """Scores as the model gives them, by the darkest quarter."""
    half = pages.SIDE // 2
    quarters = batch.mean(axis=1).reshape(len(batch), 2, half, 2, half).mean(axis=(2, 4))
    return np.array([[float(q[CORNERS[a]] == q.min()) for a in (0, 90, 180, 270)] for q in quarters])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(7):
        page = Image.new("RGB", (300, 400), "white")
        page.paste("black", (0, 0, 150, 200))
        page.rotate(-90 * (number % 4), expand=True).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_pages_keep_their_order_in_batches(folder: Path, size: int) -> None:
    sizes = []

    def run(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return by_corner(batch)

    found = list(pages.orientations(pages.pictures(folder), run, size))
    assert [f.angle for f in found] == [0, 90, 180, 270, 0, 90, 180]
    assert sum(sizes) == 7 and max(sizes) == min(size, 7)


def test_straightened_pages_are_upright(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for found in pages.orientations(pages.pictures(folder), by_corner, 4):
        pages.straighten(found, out)
    assert {f.angle for f in pages.orientations(pages.pictures(out), by_corner, 4)} == {0}


def test_an_empty_folder_has_no_pages(tmp_path: Path) -> None:
    assert list(pages.orientations(pages.pictures(tmp_path), by_corner, 4)) == []


def test_the_sample_is_drawn_with_its_angles(tmp_path: Path) -> None:
    angles = pages.draw_sample(tmp_path, 6)
    assert len(pages.pictures(tmp_path)) == 6 and set(angles) <= {0, 90, 180, 270}
    widths = [Image.open(f).width for f in pages.pictures(tmp_path)]
    assert widths == [420 if a in (0, 180) else 560 for a in angles]
