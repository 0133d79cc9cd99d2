"""Three plucked notes back from their sound."""

import tempfile
from pathlib import Path

import basic_pitch
import numpy as np
import soundfile
from basic_pitch.inference import predict
from show import show

RATE = 22050


def pluck(frequency: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A string that was plucked: noise in a delay line with a low pass."""
    line = rng.uniform(-1, 1, int(RATE / frequency))
    out = np.empty(int(RATE * seconds))
    for i in range(len(out)):
        out[i] = line[0]
        line = np.append(line[1:], 0.996 * 0.5 * (line[0] + line[1]))
    return out


rng = np.random.default_rng(0)
sound = np.concatenate([pluck(f, 0.8, rng) for f in (261.63, 329.63, 392.0)])
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "notes.wav")
    soundfile.write(path, 0.5 * sound / np.abs(sound).max(), RATE)
    model = Path(basic_pitch.__file__).parent / "saved_models/icassp_2022/nmp.onnx"
    outputs, _, notes = predict(path, model)
show(
    notes=[(round(float(start), 3), round(float(end), 3), int(pitch)) for start, end, pitch, *_ in sorted(notes)],
    note_sums={name: float(np.abs(a).sum()) for name, a in outputs.items()},
)
