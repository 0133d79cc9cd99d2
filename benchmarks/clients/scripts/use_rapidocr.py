"""Reads a drawn page, upright and upside down."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rapidocr_onnxruntime import RapidOCR
from show import show

page = Image.new("RGB", (640, 240), "white")
draw = ImageDraw.Draw(page)
for i, line in enumerate(("Hello world 12345", "The quick brown fox", "jumps over the lazy dog")):
    draw.text((40, 30 + 60 * i), line, fill="black", font=ImageFont.load_default(34))
engine = RapidOCR()
pages = {"upright": page, "upside down": page.rotate(180)}
found = {name: engine(np.array(p))[0] for name, p in pages.items()}
show(
    texts={name: [text for _, text, _ in lines] for name, lines in found.items()},
    boxes={name: [box for box, _, _ in lines] for name, lines in found.items()},
    scores={name: [float(score) for _, _, score in lines] for name, lines in found.items()},
)
