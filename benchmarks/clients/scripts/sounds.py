"""Sounds that programs listen to."""

from __future__ import annotations

import numpy as np

RATE = 16000
FORMANTS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240), "e": (530, 1840, 2480)}


def vowel(name: str, seconds: float, pitch: float) -> np.ndarray:
    """A glottal pulse train through three resonators."""
    n = int(RATE * seconds)
    time = np.arange(n) / RATE
    phase = np.cumsum(pitch * (1 + 0.03 * np.sin(2 * np.pi * 5 * time))) / RATE
    signal = np.diff(np.floor(phase), prepend=0.0)
    for frequency, width in zip(FORMANTS[name], (80, 100, 140), strict=True):
        r = np.exp(-np.pi * width / RATE)
        a, b = 2 * r * np.cos(2 * np.pi * frequency / RATE), -r * r
        out = np.zeros(n + 2)
        for i in range(n):
            out[i + 2] = signal[i] + a * out[i + 1] + b * out[i]
        signal = out[2:]
    fade = np.minimum(1, np.minimum(time, seconds - time) / 0.03)
    return signal / np.abs(signal).max() * fade


def speech() -> np.ndarray:
    """Three words of five vowels between silences, float32 at 16 kHz: vowels are pulses through formants."""
    word = np.concatenate([vowel(v, 0.18, p) for v, p in (("a", 120), ("i", 130), ("u", 110), ("e", 125), ("a", 115))])
    silence = 0.002 * np.random.default_rng(0).standard_normal(RATE)
    return np.concatenate([silence, word, silence, word, silence, word, silence]).astype(np.float32) * 0.5
