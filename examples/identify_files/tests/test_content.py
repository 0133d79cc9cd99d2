"""Features and labels, on a small made-up configuration."""

from __future__ import annotations

import numpy as np

from examples.identify_files import content

CONFIG = {
    "block_size": 8,
    "beg_size": 4,
    "end_size": 4,
    "padding_token": 256,
    "target_labels_space": ["python", "randomtxt", "rust"],
    "thresholds": {"rust": 0.9},
    "medium_confidence_threshold": 0.5,
    "overwrite_map": {"randomtxt": "txt"},
}


def test_features_of_a_long_file() -> None:
    assert content.features(b"  abcdefghijkl\n\n", CONFIG).tolist() == list(b"abcdijkl")


def test_short_files_are_padded_in_the_middle() -> None:
    assert content.features(b" ab", CONFIG).tolist() == [97, 98, 256, 256, 256, *b" ab"]
    assert content.features(b"\n", CONFIG).tolist() == [256] * 8


def test_labels() -> None:
    assert content.label(np.array([0.8, 0.1, 0.1]), CONFIG) == ("python", 0.8)
    assert content.label(np.array([0.1, 0.8, 0.1]), CONFIG)[0] == "txt"
    assert content.label(np.array([0.1, 0.1, 0.8]), CONFIG)[0] == "unsure (perhaps rust)"
