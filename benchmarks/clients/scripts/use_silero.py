"""Where there is speech, by two models."""

import torch
from show import show
from silero_vad import get_speech_timestamps, load_silero_vad
from sounds import RATE, speech

wave = speech()
found = {}
for opset in (15, 16):
    model = load_silero_vad(onnx=True, opset_version=opset)
    found[f"opset {opset}"] = get_speech_timestamps(torch.from_numpy(wave), model, return_seconds=False)
    model.reset_states()
    chances = [float(model(torch.from_numpy(wave[i : i + 512]), RATE)) for i in range(0, len(wave) - 512, 512)]
    found[f"chances {opset}"] = [round(c, 4) for c in chances]
show(segments=found)
