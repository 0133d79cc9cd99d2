"""Pickles of sessions and models: a reference or the model itself, options, providers; and files that changed since."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.errors import InputError, ModelError, ProviderError, ProviderWarning, RonnError
from ronn.plugins import registry
from ronn.provider import KernelProvider, kernel

W = np.random.default_rng(5).standard_normal((4, 3)).astype(np.float32)
X = np.arange(8, dtype=np.float32).reshape(2, 4)
ALONE = ["reference"]


def affine(scale: float = 1.0) -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    ends = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)] for n, shape in (("x", ["N", 4]), ("y", ["N", 3]))
    ]
    graph = helper.make_graph(nodes, "g", *ends, [numpy_helper.from_array(W * np.float32(scale), "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(affine(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def there_and_back(thing: object) -> object:
    return pickle.loads(pickle.dumps(thing))


def test_a_session_of_a_path_carries_the_path(path: Path) -> None:
    session = ronn.Session(path, providers=ALONE, options={"optimization": "basic", "dimensions": {"N": 2}})
    data = pickle.dumps(session)
    assert len(data) < 1000 and W.tobytes() not in data
    again = pickle.loads(data)
    assert again.options == session.options and again.providers == session.providers == ["reference"]
    np.testing.assert_array_equal(again.run(X)["y"], session.run(X)["y"])
    with pytest.raises(InputError):  # the option holds
        again.run(X[:1])


def test_the_path_is_found_from_another_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    data = pickle.dumps(ronn.Session(path.name, providers=ALONE))
    monkeypatch.chdir("/")
    assert pickle.loads(data).run(X)["y"].shape == (2, 3)


@pytest.mark.parametrize("form", ["bytes", "proto", "file"])
def test_a_session_of_anything_else_carries_the_model(form: str, path: Path) -> None:
    proto = affine()
    with path.open("rb") as file:
        source = {"bytes": proto.SerializeToString(), "proto": proto, "file": file}[form]
        session = ronn.Session(source, providers=ALONE)
    data = pickle.dumps(session)
    path.unlink()
    np.testing.assert_array_equal(pickle.loads(data).run(X)["y"], session.run(X)["y"])


def test_sessions_of_one_model_go_on_sharing_it(path: Path) -> None:
    model = ronn.load(path)
    first, second = there_and_back((model.create_session(providers=ALONE), model.create_session(providers=ALONE)))
    assert first.model is second.model
    np.testing.assert_array_equal(first.run(X)["y"], second.run(X)["y"])


def test_a_model_that_was_edited_goes_as_it_is(path: Path) -> None:
    model = ronn.load(path)
    assert len(pickle.dumps(model)) < 1000
    node = next(n for n in model.graph if n.op == "Relu")
    node.op = "Neg"
    session = model.create_session(providers=ALONE)
    again = there_and_back(session)
    np.testing.assert_array_equal(again.run(X)["y"], -(X @ W))
    np.testing.assert_array_equal(there_and_back(model).create_session(providers=ALONE).run(X)["y"], -(X @ W))


def test_a_copy_is_a_session_of_its_own(path: Path) -> None:
    session = ronn.Session(path, providers=ALONE)
    for made in (copy.copy(session), copy.deepcopy(session)):
        assert made is not session
        made.close()
    assert session.run(X)["y"].shape == (2, 3)


# --- files that change


def test_a_file_that_changed_since_is_told_by_name(path: Path) -> None:
    data = pickle.dumps(ronn.Session(path, providers=ALONE))
    onnx.save(affine(2.0), path)  # as long as it was
    with pytest.raises(ModelError, match="not the file that was pickled") as error:
        pickle.loads(data)
    assert str(path) in str(error.value) and "hint" in str(error.value)


def test_a_file_that_was_copied_over_itself_is_the_same(path: Path) -> None:
    session = ronn.Session(path, providers=ALONE)
    data = pickle.dumps(session)
    other = path.with_name("new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(1, 1))
    os.replace(other, path)
    np.testing.assert_array_equal(pickle.loads(data).run(X)["y"], session.run(X)["y"])


def test_a_file_that_is_gone_is_told_by_name(path: Path) -> None:
    data = pickle.dumps(ronn.Session(path, providers=ALONE))
    path.unlink()
    with pytest.raises(ModelError, match=r"m\.onnx: no such file"):
        pickle.loads(data)


@pytest.mark.parametrize("what", ["written", "replaced", "removed"])
def test_no_reference_to_a_file_that_is_another_now(path: Path, what: str) -> None:
    session = ronn.Session(path, providers=ALONE)
    if what == "written":
        path.write_bytes(affine(2.0).SerializeToString())
        os.utime(path, ns=(1, 1))
    elif what == "replaced":
        path.with_name("n").write_bytes(path.read_bytes())
        os.replace(path.with_name("n"), path)
    else:
        path.unlink()
    with pytest.raises(ModelError, match="a pickle cannot refer to it"):
        pickle.dumps(session)


def test_external_data_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(affine(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    session = ronn.Session(path, providers=ALONE)
    data = pickle.dumps(session)
    np.testing.assert_array_equal(pickle.loads(data).run(X)["y"], session.run(X)["y"])
    (tmp_path / "w.bin").write_bytes((W * 2).tobytes())
    with pytest.raises(ModelError, match=r"w\.bin"):
        pickle.loads(data)


# --- what cannot go


def test_a_closed_session_has_nothing_to_carry(path: Path) -> None:
    session = ronn.Session(path, providers=ALONE)
    session.close()
    with pytest.raises(RonnError, match="closed"):
        pickle.dumps(session)


class Local(KernelProvider):
    name = "only-here"
    options = {"scale": 1}

    @kernel("MatMul", since=1, dtypes="float32")
    def matmul(self, ctx, a, b):
        return a @ b

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx, x):
        return np.maximum(x, 0)


def test_providers_go_by_name_with_their_options(path: Path) -> None:
    registry().add(Local())
    try:
        data = pickle.dumps(ronn.Session(path, providers=[("only-here", {"scale": 3}), "reference"]))
        alone = pickle.dumps(ronn.Session(path, providers=["only-here"], options={"optimization": "none"}))
        again = pickle.loads(data)
        assert again.providers == ["only-here", "reference"] and again._targets[0].options["scale"] == 3
    finally:
        registry().remove("only-here")
    with pytest.warns(ProviderWarning, match="only-here"):
        assert pickle.loads(data).providers == ["reference"]
    with pytest.raises(ProviderError, match="only-here"):
        pickle.loads(alone)


# --- processes

METHODS = [
    pytest.param(m, marks=pytest.mark.sockets("the fork server listens on one")) if m == "forkserver" else m
    for m in multiprocessing.get_all_start_methods()
]


@pytest.mark.parametrize("method", METHODS)
def test_process_pools_run_pickled_sessions(method: str, path: Path) -> None:
    session = ronn.Session(path, providers=ALONE)
    feeds = [X * k for k in range(1, 5)]
    want = [session.run(x)["y"] for x in feeds]
    context = multiprocessing.get_context(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forks of a process with threads: what is tested
        with context.Pool(1) as pool:
            got = pool.map(session.run, feeds, chunksize=2)
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            also = list(executor.map(session.run, feeds, chunksize=2))
    for a, b, c in zip(want, got, also, strict=True):
        np.testing.assert_array_equal(a, b["y"])
        np.testing.assert_array_equal(a, c["y"])
