"""What the extra ``torch`` gives, where it is not installed."""

from __future__ import annotations

import sys

import pytest

from ronn_provider_bitnet import training


def test_without_torch_the_error_says_what_to_install(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("ronn_provider_bitnet.training.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in set(training.__all__) - {"TrainingError"}:
        with pytest.raises(training.TrainingError, match="needs PyTorch") as caught:
            getattr(training, name)
        assert "ronn-provider-bitnet[torch]" in str(caught.value)


def test_other_names_are_none_of_it():
    with pytest.raises(AttributeError, match="no attribute 'trainer'"):
        _ = training.trainer
