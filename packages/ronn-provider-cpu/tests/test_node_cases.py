"""Every node case of ``onnx.backend.test`` passes on these kernels alone, or is refused for a named operator."""

from __future__ import annotations

import numpy as np
import pytest
from node_cases import NodeCase, Refused, node_cases, run_model

# Operators that no kernel here takes, so that the plan or another provider must: control flow, images, and graphs as
# attributes.
NOT_TAKEN = {"If", "Loop", "Scan", "SequenceMap", "ImageDecoder", "FlexAttention"}
# Half-precision graphs whose expected values were made with a rounding between the steps of one operator.
ONE_ULP = {"test_attention_4d_causal_fp16_expanded": 2e-3}


def _is_random(case: NodeCase) -> bool:
    return "bernoulli" in case.name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", node_cases(), ids=lambda c: c.name)
def test_node_case(case: NodeCase) -> None:
    """The case passes, or is refused for an operator that is known not to be taken."""
    taken = not NOT_TAKEN & {op for _, op in case.ops}
    if _is_random(case):
        _check_random(case)
        return
    try:
        with np.errstate(all="ignore"):
            NodeCase(case.name, case.model, case.data, max(case.rtol, ONE_ULP.get(case.name, 0.0)), case.atol).check()
    except Refused as refusal:
        assert not taken, f"refused: {refusal}"


def _check_random(case: NodeCase) -> None:
    """Draws differ from the recorded ones; their type, shape and range do not."""
    for feeds, expected in case.data:
        (got,) = run_model(case.model, feeds)
        assert got.dtype == expected[0].dtype
        assert got.shape == expected[0].shape
        assert set(np.unique(got).tolist()) <= {0, 1}


def test_a_wrong_answer_fails() -> None:
    """The comparison above can fail: a case with one changed expectation does."""
    case = next(c for c in node_cases() if c.name == "test_basic_conv_with_padding")
    feeds, (expected,) = case.data[0]
    wrong = NodeCase(case.name, case.model, [(feeds, [expected + 1])], case.rtol, case.atol)
    with pytest.raises(AssertionError):
        wrong.check()
