"""Text detection: the picture goes in, a probability of "text" per pixel comes out, boxes are made from it.

The model is a DB (differentiable binarisation) segmenter: it marks shrunk text regions, so each found rectangle is
grown again by area * UNCLIP / perimeter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
LONG_SIDE = 960  # pixels
STRIDE = 32  # the model's input sides are multiples of this
PIXEL_THRESHOLD = 0.3
BOX_THRESHOLD = 0.5
UNCLIP = 1.6
SMALLEST_SIDE = 3  # pixels of the probability map

Run = Callable[[np.ndarray], np.ndarray]
"""Runs a model with one input and one output."""


@dataclass(frozen=True)
class Box:
    """A found line: corners ((4, 2) float, top left first, clockwise, pixels of the picture) and mean probability."""

    corners: np.ndarray
    score: float


def prepare(image: Image.Image) -> np.ndarray:
    """The detector's input, float32 (1, 3, H, W) with H and W multiples of 32."""
    scale = min(1.0, LONG_SIDE / max(image.size))
    width, height = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in image.size)
    pixels = np.asarray(image.convert("RGB").resize((width, height)), np.float32) / 255
    pixels = (pixels[:, :, ::-1] - MEAN) / STD  # the model was trained on BGR
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def find_boxes(probability: np.ndarray, image_size: tuple[int, int]) -> list[Box]:
    """Boxes from a probability map (H, W), in reading order, as pixels of a picture of that size (width, height)."""
    height, width = probability.shape
    factor = np.array([image_size[0] / width, image_size[1] / height])
    boxes = []
    for points in components(probability > PIXEL_THRESHOLD):
        score = float(probability[points[:, 1], points[:, 0]].mean())
        corners = smallest_rectangle(points)
        sides = np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[3] - corners[0])
        if score < BOX_THRESHOLD or min(sides) < SMALLEST_SIDE:
            continue
        grown = grow(corners, UNCLIP * sides[0] * sides[1] / (2 * (sides[0] + sides[1])))
        boxes.append(Box(np.clip(grown * factor, 0, np.array(image_size) - 1), score))
    return sorted(boxes, key=lambda box: (round(box.corners[:, 1].mean() / 12), box.corners[0, 0]))


def components(mask: np.ndarray) -> list[np.ndarray]:
    """Connected regions (4-neighbourhood) of a bool array (H, W): the pixels of each as an int array (n, 2) of x, y.

    Works on horizontal runs: runs of neighbouring rows that overlap belong together (union-find).
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parent = np.arange(len(rows))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    first = np.searchsorted(rows, np.arange(mask.shape[0] + 1))
    for row in range(1, mask.shape[0]):
        above, here = int(first[row - 1]), int(first[row])
        while above < first[row] and here < first[row + 1]:
            if starts[above] < ends[here] and starts[here] < ends[above]:
                parent[root(here)] = root(above)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    regions: dict[int, list[np.ndarray]] = {}
    for i in range(len(rows)):
        xs = np.arange(starts[i], ends[i])
        regions.setdefault(root(i), []).append(np.stack([xs, np.full_like(xs, rows[i])], axis=1))
    return [np.concatenate(runs) for runs in regions.values()]


def convex_hull(points: np.ndarray) -> np.ndarray:
    """The hull of (n, 2) integer points, counter-clockwise (Andrew's monotone chain)."""
    ordered = np.unique(points, axis=0)
    if len(ordered) < 3:
        return ordered

    def half(chain: np.ndarray) -> list[np.ndarray]:
        out: list[np.ndarray] = []
        for point in chain:
            while len(out) > 1 and _turn(out[-2], out[-1], point) <= 0:
                out.pop()
            out.append(point)
        return out

    return np.array(half(ordered)[:-1] + half(ordered[::-1])[:-1])


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> int:
    return int((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def smallest_rectangle(points: np.ndarray) -> np.ndarray:
    """Corners of the rectangle of least area round pixels (n, 2): (4, 2), top left first, clockwise."""
    # Only the ends of a row can lie on the hull.
    rows = np.unique(points[:, 1])
    ends = [(points[points[:, 1] == y, 0].min(), points[points[:, 1] == y, 0].max()) for y in rows]
    outline = np.array([(x, y) for y, pair in zip(rows, ends, strict=True) for x in pair])
    # A pixel covers a square, so each contributes its four corners.
    squares = (outline[:, None, :] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])).reshape(-1, 2)
    hull = convex_hull(squares).astype(float)
    edges = np.diff(np.concatenate([hull, hull[:1]]), axis=0)
    angles = np.unique(np.round(np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2), 6))
    best = (np.inf, np.empty((4, 2)))
    for angle in angles:
        axes = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        turned = hull @ axes.T
        (x0, y0), (x1, y1) = turned.min(axis=0), turned.max(axis=0)
        if (x1 - x0) * (y1 - y0) < best[0]:
            best = ((x1 - x0) * (y1 - y0), np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) @ axes)
    return in_reading_order(best[1])


def in_reading_order(corners: np.ndarray) -> np.ndarray:
    """Four corners as top left, top right, bottom right, bottom left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    top_left, bottom_left = left[np.argsort(left[:, 1])]
    top_right, bottom_right = right[np.argsort(right[:, 1])]
    return np.array([top_left, top_right, bottom_right, bottom_left])


def grow(corners: np.ndarray, distance: float) -> np.ndarray:
    """The rectangle moved outwards by ``distance`` on each side."""
    across = (corners[1] - corners[0]) / np.linalg.norm(corners[1] - corners[0])
    down = (corners[3] - corners[0]) / np.linalg.norm(corners[3] - corners[0])
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return corners + distance * (signs[:, :1] * across + signs[:, 1:] * down)


def detect(image: Image.Image, run: Run) -> list[Box]:
    """All lines of text in ``image``."""
    return find_boxes(run(prepare(image))[0, 0], image.size)
