"""Constants are views of the mapped model file; a file that is written afterwards is never read as something else."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn import mapped
from ronn.errors import ModelError
from ronn.mapped import MIN_IN_PLACE, MIN_MAPPED, file_of, for_runs, give_back, open_mapped

pytestmark = pytest.mark.skipif(not mapped.may_map(), reason="this system cannot give mapped memory back")

K = 512
rng = np.random.default_rng(7)
W, V = (rng.standard_normal((K, K), np.float32) for _ in range(2))


def model(weights: np.ndarray = W, *, shift: int = 0, dim: object = "N") -> bytes:
    """``y = x @ w``; ``shift`` moves the weights in the file."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [dim, K])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [dim, K])
    node = helper.make_node("MatMul", ["x", "w"], ["y"], doc_string="-" * shift)
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weights, "w")])
    made: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    return made


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def overwrite(path: Path, data: bytes) -> None:
    """Writes into the very file, later than it was written before."""
    before = path.stat().st_mtime_ns
    path.write_bytes(data)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def rows(n: int) -> np.ndarray:
    return np.ones((n, K), np.float32)


def constant(session: ronn.Session) -> np.ndarray:
    found = session.model.graph.initializers["w"].data
    assert found is not None
    return found


@pytest.mark.parametrize("shift", range(4))
def test_large_constants_are_views_at_any_offset(tmp_path: Path, shift: int) -> None:
    with ronn.Session(put(tmp_path / "m.onnx", model(shift=shift))) as session:
        w = constant(session)
        assert file_of(w) is not None and not w.flags.writeable and np.array_equal(w, W)
        assert file_of(w[3:, ::2].T) is file_of(w)
        np.testing.assert_allclose(session.run(rows(3))["y"], rows(3) @ W, rtol=1e-4, atol=1e-4)


def test_small_constants_are_read(tmp_path: Path) -> None:
    values = np.arange(K * 2, dtype=np.float32)
    assert values.nbytes < MIN_MAPPED
    extra = numpy_helper.from_array(values, "v")
    proto = onnx.load_from_string(model())
    proto.graph.initializer.append(extra)
    found = ronn.load(put(tmp_path / "m.onnx", proto.SerializeToString())).graph.initializers["v"].data
    assert found is not None and file_of(found) is None and np.array_equal(found, values)


@pytest.mark.parametrize("damage", ["overwritten", "cut"])
def test_a_file_that_was_written_is_an_error_where_it_is_needed_again(tmp_path: Path, damage: str) -> None:
    path = put(tmp_path / "m.onnx", model())
    loaded, session = ronn.load(path), ronn.Session(path, providers=["reference"])
    overwrite(path, model(V) if damage == "overwritten" else b"")
    with pytest.raises(ModelError, match=r"m\.onnx.*written after it was loaded"):
        session.run(rows(2))
    with pytest.raises(ModelError, match="written after"):
        loaded.create_session()


def test_large_constants_that_runs_read_in_place_are_checked_at_each_run(tmp_path: Path) -> None:
    assert W.nbytes >= MIN_IN_PLACE
    path = put(tmp_path / "m.onnx", model())
    proto = onnx.load(path)
    proto.graph.node[0].CopyFrom(helper.make_node("Gather", ["w", "i"], ["y"]))
    del proto.graph.input[:]
    proto.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, ["N"]))
    for name in ("n", "no", "nod", "node"):  # Python reads a constant in place only where it lies aligned in the file
        proto.graph.node[0].name = name
        onnx.save(proto, path)
        with ronn.Session(path) as session:
            if constant(session).flags.aligned:
                break
    session = ronn.Session(path)
    assert constant(session).flags.aligned
    feed = np.array([1, 5])
    first = session.run(feed)["y"]
    assert np.array_equal(first, W[[1, 5]])
    overwrite(path, b"")
    with pytest.raises(ModelError, match="written after"):
        session.run(feed)
    assert np.array_equal(first, W[[1, 5]])  # outputs are the caller's own


def test_a_file_that_was_replaced_stays_as_it_was(tmp_path: Path) -> None:
    path = put(tmp_path / "m.onnx", model())
    session = ronn.Session(path)
    put(tmp_path / "new.onnx", model(V)).replace(path)
    for n in (1, 2, 5):
        np.testing.assert_allclose(session.run(rows(n))["y"], rows(n) @ W, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ronn.Session(path).run(rows(2))["y"], rows(2) @ V, rtol=1e-4, atol=1e-4)


def test_a_file_that_was_deleted_stays_as_it_was(tmp_path: Path) -> None:
    path = put(tmp_path / "m.onnx", model())
    session = ronn.Session(path)
    path.unlink()
    for n in (1, 4):
        np.testing.assert_allclose(session.run(rows(n))["y"], rows(n) @ W, rtol=1e-4, atol=1e-4)


def test_files_may_be_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_MAP_FILES", "0")
    path = put(tmp_path / "m.onnx", model())
    session = ronn.Session(path)
    assert file_of(constant(session)) is None
    overwrite(path, b"")
    np.testing.assert_allclose(session.run(rows(2))["y"], rows(2) @ W, rtol=1e-4, atol=1e-4)


def test_descriptors_are_closed_with_the_last_constant(tmp_path: Path) -> None:
    def open_here() -> int:
        gc.collect()
        links = (os.path.join("/proc/self/fd", n) for n in os.listdir("/proc/self/fd"))
        return sum(os.path.realpath(link) == str(path.resolve()) for link in links if os.path.lexists(link))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    path = put(tmp_path / "m.onnx", model())
    session = ronn.Session(path)
    session.run(rows(2))
    assert open_here() > 0
    session.close()
    assert open_here() == 0


def test_memory_tells_mapped_constants_apart(tmp_path: Path) -> None:
    path = put(tmp_path / "m.onnx", model())
    with ronn.Session(path) as session:
        found = session.memory()
        assert found.mapped == W.nbytes and found.weights == 0 and "mapped 1.0 MB" in str(found)
    with ronn.Session(model()) as session:
        found = session.memory()
        assert found.mapped == 0 and found.weights == W.nbytes and "mapped" not in str(found)


def test_what_is_given_back_is_read_again(tmp_path: Path) -> None:
    data = rng.bytes(100_000)
    file = open_mapped(put(tmp_path / "f", data))
    part = file.view(5000, 60_000)
    for array in (part, part[::-1], part[100:200], part.reshape(100, 600)[:, ::3], part[:0]):
        want = array.tobytes()
        give_back(array)
        assert array.tobytes() == want
    file.give_back()
    assert part.tobytes() == data[5000:65_000]
    give_back(np.ones(10_000))  # memory of its own stays


def test_copies_for_runs_are_shared(tmp_path: Path) -> None:
    size = MIN_IN_PLACE // 4
    file = open_mapped(put(tmp_path / "f", b"\0" + rng.bytes(4 * size)))
    large = file.view(1, 4 * size).view(np.float32)
    small = large[:100]
    assert for_runs(large) is large and not large.flags.aligned
    copy = for_runs(small)
    assert file_of(copy) is None and copy.tobytes() == small.tobytes() and not copy.flags.writeable
    assert for_runs(small) is copy
    aligned = for_runs(large, aligned=True)
    assert aligned.flags.aligned and aligned.tobytes() == large.tobytes()
    own = np.ones(3)
    assert for_runs(own) is own


def test_the_graph_of_a_session_with_fixed_sizes_is_whole(tmp_path: Path) -> None:
    session = ronn.Session(put(tmp_path / "m.onnx", model(dim=2)))
    want = session.run(rows(2))["y"]
    held = [v.data for v in session.graph.initializers.values()]
    assert len(held) == 1 and held[0] is not None and np.array_equal(held[0], W)
    assert np.array_equal(session.run(rows(2))["y"], want)
    traced = session.run(rows(2), trace=["y"])
    assert np.array_equal(traced["y"], want)


def test_fills_are_not_spread_out_until_they_are_packed() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", K])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", K])
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"], value=value),
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "w0"], ["y"]),
        helper.make_node("Gather", ["w", "zero"], ["w0"]),
    ]
    shape = numpy_helper.from_array(np.array([K, K]), "s")
    zero = numpy_helper.from_array(np.array(0), "zero")
    graph = helper.make_graph(nodes[:2] + nodes[3:] + nodes[2:3], "g", [x], [y], [shape, zero])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = ronn.Session(proto)
    fills = [v.data for v in session.graph.initializers.values() if v.data is not None and v.data.nbytes == W.nbytes]
    assert len(fills) == 1 and fills[0].strides == (0, 0)
    np.testing.assert_allclose(session.run(rows(3))["y"], np.full((3, K), 0.5 * K + 0.5), rtol=1e-5)
