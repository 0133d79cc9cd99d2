"""Weights are in memory once: originals go when they are packed, and packing takes little besides."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from native_support import native_nodes
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.frontend.weights import _field
from ronn.ir.graph import Value
from ronn_codegen.native.library import library
from ronn_codegen.templates.gemm_shape import packed_size, tile_of
from ronn_codegen.templates.int8_pack import pack, pack_depthwise
from ronn_codegen.templates.int8_pack import tile_of as int8_tile_of
from ronn_provider_cpu.lower import _int8_columns, _right_operand
from ronn_provider_cpu.lower._int8_columns import Differences, packed_signed
from ronn_provider_cpu.lower._right_operand import pack_right

F = TensorProto.FLOAT
rng = np.random.default_rng(3)
K = 256
W, V = (rng.standard_normal((K, K), np.float32) for _ in range(2))


def info(name: str, *shape: object, kind: int = F) -> object:
    return helper.make_tensor_value_info(name, kind, list(shape))


def build(nodes: list, inputs: list, outputs: list, **constants: np.ndarray) -> bytes:
    held = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, held)
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()
    return made


def product(dim: object = 3) -> bytes:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    return build(nodes, [info("x", dim, K)], [info("y", dim, K)], w=W, v=V)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(data)
    return path


X = rng.standard_normal((3, K), np.float32)


def close(found: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-3)


def constants(session: ronn.Session) -> list[Value]:
    plans = [p for _, p in session._base.plans()]
    return [v for plan in plans for v in plan._slot if v.data is not None]


def test_originals_are_let_go_once_they_are_packed() -> None:
    session = ronn.Session(product(), providers=["cpu"])
    assert len(native_nodes(session)) == 2
    close(session.run({"x": X})["y"], X @ W @ V)
    assert constants(session) == []
    graph = session._base._latest
    assert graph is not None and all(v.data is None for v in graph.initializers.values())
    # What there is are the packed weights and the model's own.
    found = session.memory()
    assert found.packed >= W.nbytes + V.nbytes and found.weights == W.nbytes + V.nbytes


def test_a_session_from_a_file_holds_packed_weights_only(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    large = rng.standard_normal((K, 2048), np.float32)
    path = put(tmp_path, build(nodes, [info("x", "N", K)], [info("y", "N", 2048)], w=large))
    with ronn.Session(path, providers=["cpu"]) as session:
        for n in (1, 3, 40):
            x = rng.standard_normal((n, K), np.float32)
            close(session.run({"x": x})["y"], x @ large)
        found = session.memory()
        assert found.weights == 0 and found.mapped == large.nbytes and found.packed >= large.nbytes


def test_constants_that_are_read_stay() -> None:
    """Packed for one node, read by another, given out, and captured by a branch."""
    then = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["t"])], "t", [], [info("t", 3, K)])
    other = helper.make_graph([helper.make_node("Identity", ["v"], ["e"])], "e", [], [info("e", K, K)])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Add", ["w", "s"], ["z"]),
        helper.make_node("MatMul", ["x", "v"], ["u"]),
        helper.make_node("If", ["b"], ["i"], then_branch=then, else_branch=other),
    ]
    inputs = [info("x", 3, K), info("s"), info("b", kind=TensorProto.BOOL)]
    outputs = [
        info("y", 3, K),
        info("z", K, K),
        info("u", 3, K),
        helper.make_empty_tensor_value_info("i"),
        info("v", K, K),
    ]
    session = ronn.Session(build(nodes, inputs, outputs, w=W, v=V))
    for flag in (True, False, True):
        found = session.run({"x": X, "s": np.float32(2), "b": np.array(flag)})
        close(found["y"], X @ W)
        close(found["u"], X @ V)
        assert np.array_equal(found["z"], W + 2) and np.array_equal(found["v"], V)
        if flag:
            close(found["i"], X @ W)
        else:
            assert np.array_equal(found["i"], V)


def test_variants_and_sessions_made_later_have_all_weights() -> None:
    model = ronn.load(product())
    first = ronn.Session(model)
    close(first.run({"x": X})["y"], X @ W @ V)
    close(first.run({"x": X}, trace=["h"])["h"], X @ W)
    second = model.create_session()
    close(second.run({"x": X})["y"], X @ W @ V)
    shared = {id(a) for _, p in first._base.plans() for a in p.packed()}
    assert {id(a) for _, p in second._base.plans() for a in p.packed()} == shared
    close(first.run({"x": X})["y"], X @ W @ V)


def test_folded_weights_of_fixed_sizes_are_let_go() -> None:
    c = 64
    w = rng.standard_normal((c, c, 3, 3), np.float32)
    scale, shift, mean, var = (np.abs(rng.standard_normal(c, np.float32)) + 0.5 for _ in range(4))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["h", "a", "b", "m", "v"], ["y"]),
    ]
    data = build(nodes, [info("x", 1, c, 9, 9)], [info("y", 1, c, 9, 9)], w=w, a=scale, b=shift, m=mean, v=var)
    session = ronn.Session(data, providers=["cpu"])
    assert session.memory().weights < 1.1 * w.nbytes  # those of the model: they are part of the bytes that were given
    assert sum(v.data.nbytes for v in constants(session) if v.data is not None) < 4096
    x = rng.standard_normal((1, c, 9, 9), np.float32)
    want = session.run({"x": x})["y"]
    folded = max((v.data for v in session.graph.initializers.values() if v.data is not None), key=lambda a: a.nbytes)
    np.testing.assert_allclose(folded, w * (scale / np.sqrt(var + 1e-5))[:, None, None, None], rtol=1e-5)
    assert np.array_equal(session.run({"x": x})["y"], want)


SHAPES = [(1, 1), (1, 70), (5, 16), (130, 33), (300, 48), (16, 97)]


@pytest.mark.parametrize("piece", [1, 700, 2**20])
@pytest.mark.parametrize("k, n", SHAPES)
def test_right_operands_of_any_layout_are_packed_alike(
    monkeypatch: pytest.MonkeyPatch, k: int, n: int, piece: int
) -> None:
    monkeypatch.setattr(_right_operand, "_PIECE", piece)
    kernels = library()
    tile = tile_of(kernels.machine.target)
    a = rng.standard_normal((2, k, n), np.float32)
    want = np.zeros((2, packed_size(k, n, tile)), np.float32)
    for e in range(2):
        at = 0
        for first in range(0, n, tile.columns):
            columns = a[e, :, first : first + tile.columns]
            wide = np.zeros((k, -(-columns.shape[1] // tile.lanes) * tile.lanes), np.float32)
            wide[:, : columns.shape[1]] = columns
            want[e, at : at + wide.size] = wide.reshape(-1)
            at += wide.size
    spaced = np.zeros((2, k, 3 * n), np.float32)
    spaced[:, :, ::3] = a
    odd = np.frombuffer(b"-" + a.tobytes(), np.uint8)[1:].view(np.float32).reshape(a.shape)
    transposed = np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)
    for given in (a, np.asfortranarray(a), transposed, spaced[:, :, ::3], odd):
        assert np.array_equal(pack_right(kernels, given, tile), want)
    one = np.broadcast_to(np.float32(2), a.shape)
    assert np.array_equal(pack_right(kernels, one, tile), pack_right(kernels, one.copy(), tile))


@pytest.mark.parametrize("block", [1, 300, 2**18])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("zero", [0, 3, 200])
def test_bytes_are_packed_by_blocks_as_at_once(
    monkeypatch: pytest.MonkeyPatch, block: int, dtype: type, zero: int
) -> None:
    monkeypatch.setattr(_int8_columns, "_BLOCK", block)
    tile = int8_tile_of(library().machine.target)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    w = rng.integers(low, high + 1, (150, 37), dtype)
    zeros = np.clip(np.arange(150) % 7 + zero, low, high).astype(dtype)
    arrange: Callable[[np.ndarray], np.ndarray] = lambda v: v.T[None]
    difference = (w.astype(np.int16) - zeros[:, None].astype(np.int16)).T[None]
    found = Differences(w, zeros[:, None], arrange)
    facts = found.facts()
    parts, rest = [], difference
    while not parts or rest.any():
        parts.append(np.clip(rest, -128, 127).astype(np.int8))
        rest = rest - parts[-1]
    assert facts[:-1].tolist() == difference.sum((0, 1)).tolist() and facts[-1] == len(parts)
    want = pack(np.stack(parts, 1).reshape(len(parts), *difference.shape[1:]), tile)
    assert np.array_equal(found.packed(len(parts), tile), want)
    signed = (w.astype(np.int16) - (0 if dtype is np.int8 else 128)).astype(np.int8)
    assert np.array_equal(packed_signed(w, arrange, tile), pack(arrange(signed), tile))
    narrow = Differences(w // dtype(4), np.zeros((), dtype), lambda v: v.T)
    assert np.array_equal(narrow.packed_depthwise(tile), pack_depthwise((w // dtype(4)).T.astype(np.int8), tile))


def test_packing_bytes_takes_little_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    tile = int8_tile_of(library().machine.target)
    w = rng.integers(-128, 128, (1024, 4096), np.int8)

    def peak(make: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            made = make()
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        del made
        return most

    given = Differences(w, np.zeros((), np.int8), lambda v: v[None])
    assert peak(given.facts) < 0.8 * w.nbytes
    assert peak(lambda: given.packed(1, tile)) < 2 * w.nbytes


def packed_ids(session: ronn.Session) -> set[int]:
    return {id(a) for _, p in session._base.plans() for a in p.packed() if a.nbytes >= 2**16}


def folding(dim: object) -> bytes:
    """Two convolutions with a BatchNormalization each, one with the weights of the file, one with a fill."""
    c = 64
    rng = np.random.default_rng(11)
    values = {f"{n}{i}": np.abs(rng.standard_normal(c, np.float32)) + 0.5 for n in "abmv" for i in (0, 1)}
    fill = helper.make_tensor("f", F, [1], [0.25])
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w1"], value=fill),
        helper.make_node("Conv", ["x", "w0"], ["h"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["h", "a0", "b0", "m0", "v0"], ["i"]),
        helper.make_node("Conv", ["i", "w1"], ["j"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["j", "a1", "b1", "m1", "v1"], ["y"]),
    ]
    w = rng.standard_normal((c, c, 3, 3), np.float32)
    return build(nodes, [info("x", dim, c, 9, 9)], [info("y", dim, c, 9, 9)], w0=w, s=np.array([c, c, 3, 3]), **values)


@pytest.mark.parametrize("dim", [2, "N"])
def test_sessions_of_a_file_share_what_is_packed(tmp_path: Path, dim: object) -> None:
    path = put(tmp_path, b"".join([folding(dim), *_field(b"\x32", b" " * 2**20)]))  # small files are not mapped
    x = np.random.default_rng(0).standard_normal((2, 64, 9, 9), np.float32)
    first, second = ronn.Session(path), ronn.Session(path)
    assert np.array_equal(first.run({"x": x})["y"], second.run({"x": x})["y"])
    assert len(packed_ids(first)) == 2 and packed_ids(first) == packed_ids(second)


def test_sessions_of_another_file_do_not(tmp_path: Path) -> None:
    large = rng.standard_normal((K, 2048), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    sessions = []
    for i in range(2):
        folder = tmp_path / str(i)
        folder.mkdir()
        sessions.append(
            ronn.Session(put(folder, build(nodes, [info("x", 3, K)], [info("y", 3, 2048)], w=large * (i + 1))))
        )
    close(sessions[0].run({"x": X})["y"], X @ large)
    close(sessions[1].run({"x": X})["y"], X @ large * 2)
    assert not packed_ids(sessions[0]) & packed_ids(sessions[1])
