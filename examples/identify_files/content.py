"""Bytes of a file to the model's input, and the model's output to a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def features(content: bytes, config: Mapping[str, Any]) -> np.ndarray:
    """int32 (beg_size + end_size,): the first bytes behind leading white space, and the last ones before trailing white
    space, each filled up with the padding token (behind the first, before the last)."""
    block, first, last = config["block_size"], config["beg_size"], config["end_size"]
    head = content[:block].lstrip()[:first]
    tail = content[-block:].rstrip()[-last:]
    out = np.full(first + last, config["padding_token"], np.int32)
    out[: len(head)] = np.frombuffer(head, np.uint8)
    if tail:
        out[-len(tail) :] = np.frombuffer(tail, np.uint8)
    return out


def label(scores: np.ndarray, config: Mapping[str, Any]) -> tuple[str, float]:
    """The best label and its score, from float (labels,); plain text or unknown where the model is not sure enough."""
    labels: Sequence[str] = config["target_labels_space"]
    best = int(scores.argmax())
    name, score = labels[best], float(scores[best])
    if score < config["thresholds"].get(name, config["medium_confidence_threshold"]):
        return f"unsure (perhaps {name})", score
    return config["overwrite_map"].get(name, name), score
