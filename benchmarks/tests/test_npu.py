"""What timings on OpenCL devices rest on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.npu import clblast, results


def test_parts_keep_what_others_measured(tmp_path: Path) -> None:
    path = tmp_path / "npu.json"
    assert results.read("gemm", path) is None
    results.update("gemm", {"a": 1}, path)
    results.update("zoo", [2], path)
    results.update("gemm", {"b": 3}, path)
    assert results.read("gemm", path) == {"b": 3}
    assert results.read("zoo", path) == [2]


def test_parameters_are_such_as_clblast_takes() -> None:
    """The constraints of its tuner: what work-items load and compute fills the tiles."""
    given = [*clblast.parameters()]
    assert len({tuple(p.items()) for p in given}) == len(given)
    for p in given:
        items = p["MDIMC"] * p["NDIMC"]
        assert p["MWG"] % (p["MDIMC"] * p["VWM"]) == p["MWG"] % (p["MDIMA"] * p["VWM"]) == 0
        assert p["NWG"] % (p["NDIMC"] * p["VWN"]) == p["NWG"] % (p["NDIMB"] * p["VWN"]) == 0
        assert p["KWG"] % p["KWI"] == 0
        if p["GEMMK"] == 0:
            assert p["KWG"] % (items // p["MDIMA"]) == p["KWG"] % (items // p["NDIMB"]) == 0
