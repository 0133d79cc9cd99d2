"""Vowel marks for Arabic text."""

from show import show
from text2tashkeel import Diacritizer

SENTENCES = ("بسم الله الرحمن الرحيم", "ذهب الولد الى المدرسة", "العلم نور")
models = ("rawi-v2-int8", "rawi-ensemble")
show(marked={m: [Diacritizer(m).diacritize(s) for s in SENTENCES] for m in models})
