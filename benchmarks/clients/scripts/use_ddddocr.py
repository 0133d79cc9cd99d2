"""Captchas: their text by two models, and where the characters are."""

import io

from ddddocr import DdddOcr
from PIL import Image, ImageDraw, ImageFont
from show import show


def captcha(text: str) -> bytes:
    picture = Image.new("RGB", (160, 60), "white")
    draw = ImageDraw.Draw(picture)
    for i, letter in enumerate(text):
        draw.text((12 + 36 * i, 8 + 5 * (i % 2)), letter, fill=(30 * i, 40, 120), font=ImageFont.load_default(38))
    draw.line((0, 20, 160, 42), fill=(120, 120, 120))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


TEXTS = ("2Cwk", "7hpm", "k3xa")
common, old, finder = DdddOcr(show_ad=False), DdddOcr(old=True, show_ad=False), DdddOcr(det=True, show_ad=False)
show(
    common=[common.classification(captcha(t)) for t in TEXTS],
    old=[old.classification(captcha(t)) for t in TEXTS],
    boxes=[finder.detection(captcha(t)) for t in TEXTS],
)
