"""Where faster-whisper finds speech, before it transcribes any."""

from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model
from show import show
from sounds import speech

wave = speech()
chances = get_vad_model()(wave[: len(wave) // 512 * 512])
show(
    segments=get_speech_timestamps(wave, VadOptions(min_silence_duration_ms=300)),
    chances=[round(float(c), 4) for c in chances.ravel()],
)
