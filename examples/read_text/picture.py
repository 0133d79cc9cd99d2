"""Pictures: drawing the sample, cutting lines out, drawing what was found."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SAMPLE_LINES = (
    "RONN reads this picture",
    "Every node says where it ran",
    "No network code, no telemetry",
    "Order 2718-2818: 3 x espresso, 7.50 EUR",
)
TILTED_LINE = "even when a line is tilted"


def draw_sample() -> Image.Image:
    """An RGB picture (900 x 470) with four straight lines of text and a tilted one."""
    image = Image.new("RGB", (900, 470), (250, 248, 242))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 900, 84), fill=(33, 55, 92))
    draw.rectangle((40, 268, 860, 330), outline=(180, 120, 60), width=3)
    places = ((40, 18, 44, "white"), (40, 112, 36, "#1e1e1e"), (40, 188, 30, "#962828"), (60, 282, 28, "#1e5028"))
    for text, (x, y, size, colour) in zip(SAMPLE_LINES, places, strict=True):
        draw.text((x, y), text, font=ImageFont.load_default(size), fill=colour)
    strip = Image.new("RGBA", (520, 60), (0, 0, 0, 0))
    ImageDraw.Draw(strip).text((6, 8), TILTED_LINE, font=ImageFont.load_default(32), fill=(40, 40, 120, 255))
    tilted = strip.rotate(5, expand=True, resample=Image.Resampling.BICUBIC)
    image.paste(tilted, (180, 344), tilted)
    return image


def cut(image: Image.Image, corners: np.ndarray) -> Image.Image:
    """The quadrilateral ``corners`` ((4, 2) float: top left, top right, bottom right, bottom left) as a level picture.
    A strip much taller than wide is turned by 90 degrees."""
    width = int(max(np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[3]), 1))
    height = int(max(np.linalg.norm(corners[3] - corners[0]), np.linalg.norm(corners[2] - corners[1]), 1))
    top_left, top_right, bottom_right, bottom_left = (tuple(map(float, corner)) for corner in corners)
    quad = (*top_left, *bottom_left, *bottom_right, *top_right)
    strip = image.transform((width, height), Image.Transform.QUAD, quad, resample=Image.Resampling.BICUBIC)
    return strip.rotate(90, expand=True) if height >= 1.5 * width else strip


def annotate(image: Image.Image, boxes: list[np.ndarray], texts: list[str]) -> Image.Image:
    """A copy of ``image`` with boxes drawn in, and the texts written beside it."""
    out = Image.new("RGB", (image.width * 2, image.height), "white")
    out.paste(image, (0, 0))
    draw = ImageDraw.Draw(out)
    for number, (corners, text) in enumerate(zip(boxes, texts, strict=True), start=1):
        points = [tuple(map(float, corner)) for corner in corners]
        draw.line([*points, points[0]], fill=(220, 40, 40), width=2)
        size = float(np.clip(np.linalg.norm(corners[3] - corners[0]) * 0.6, 12, 40))
        draw.text((image.width + points[0][0], points[0][1]), f"{number}  {text}", font=_font(size), fill=(20, 20, 20))
    return out


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
