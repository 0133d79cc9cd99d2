"""Reads a drawn page with RapidOCR 3, whose models are newer."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rapidocr import RapidOCR
from show import show

page = Image.new("RGB", (640, 240), "white")
draw = ImageDraw.Draw(page)
for i, line in enumerate(("Hello world 12345", "The quick brown fox", "jumps over the lazy dog")):
    draw.text((40, 30 + 60 * i), line, fill="black", font=ImageFont.load_default(34))
found = RapidOCR()(np.array(page))
show(texts=found.txts, boxes=found.boxes, scores=[float(s) for s in found.scores])
