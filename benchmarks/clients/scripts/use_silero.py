"""Where there is speech: vowels made of pulses and formants, between silences."""

import numpy as np
import torch
from show import show
from silero_vad import get_speech_timestamps, load_silero_vad

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


word = np.concatenate([vowel(v, 0.18, p) for v, p in (("a", 120), ("i", 130), ("u", 110), ("e", 125), ("a", 115))])
silence = 0.002 * np.random.default_rng(0).standard_normal(RATE)
wave = np.concatenate([silence, word, silence, word, silence, word, silence]).astype(np.float32) * 0.5
found = {}
for opset in (15, 16):
    model = load_silero_vad(onnx=True, opset_version=opset)
    found[f"opset {opset}"] = get_speech_timestamps(torch.from_numpy(wave), model, return_seconds=False)
    model.reset_states()
    chances = [float(model(torch.from_numpy(wave[i : i + 512]), RATE)) for i in range(0, len(wave) - 512, 512)]
    found[f"chances {opset}"] = [round(c, 4) for c in chances]
show(segments=found)
