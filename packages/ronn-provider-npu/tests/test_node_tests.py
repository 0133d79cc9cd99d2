"""ONNX's node tests on an OpenCL device alone. ``passes.txt`` lists what passes, as `nox -s conformance` finds out;
here a part of them runs, chosen by their names: each program is compiled anew, and all of them take minutes."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import ronn
from ronn.errors import PlacementError
from ronn_testkit.passes import PassList, onnx_series

LISTED = PassList.read(Path(__file__).parent / "passes.txt")
PART = 20  # every so manieth test
CHOSEN = [n for n in sorted(LISTED.native) if zlib.crc32(n.encode()) % PART == 0 and not n.endswith("_expanded")]
ROUNDING = {"bfloat16": 2**-6, "float16": 2**-9}  # two units in the last place


@functools.cache
def node_tests() -> dict[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    return {case.name: case for case in collect_testcases(None)}


def array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def check(case: Any) -> None:
    session = ronn.Session(case.model, providers=["npu"])
    for feeds, expected in case.data_sets:
        got = session.run([array(v) for v in feeds])
        for g, e in zip(got, map(array, expected), strict=True):
            g, e = np.asarray(g), np.asarray(e)
            assert g.dtype == e.dtype and g.shape == e.shape
            rtol = max(case.rtol, ROUNDING.get(g.dtype.name, 0.0))
            if g.dtype.kind not in "fiub" or g.dtype.itemsize < 4:
                g, e = g.astype(np.float64), e.astype(np.float64)
            np.testing.assert_allclose(g, e, rtol=rtol, atol=case.atol)
    assert {row.provider for row in session.placement()} <= {"npu", "ronn"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHOSEN)
def test_a_listed_test_runs_on_the_device(name: str) -> None:
    case = node_tests().get(name)
    if case is None:
        assert LISTED.series != onnx_series(), f"{name} is listed but not in the suite"
        return
    check(case)


def test_the_list_is_long() -> None:
    assert len(LISTED.native) > 1500
    assert len(CHOSEN) > 20


@pytest.mark.filterwarnings("ignore")
def test_what_a_device_has_no_kernel_for_is_refused_with_a_reason() -> None:
    case = node_tests()["test_image_decoder_decode_png_rgb"]
    assert case.name not in LISTED.native
    with pytest.raises(PlacementError, match="no native kernel for ImageDecoder"):
        ronn.Session(case.model, providers=["npu"])
