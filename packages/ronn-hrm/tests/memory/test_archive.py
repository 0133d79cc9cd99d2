import json
import math
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from remembered import CLASSES, DIMS, NAMES, state

import ronn_hrm as hrm
from ronn_hrm.errors import StateError
from ronn_hrm.guarantee.certificate import Certificate
from ronn_hrm.state import State, Student


def _certificate(lam: float) -> Certificate:
    return Certificate(
        "ucb", 0.01, 0.1, lam, 1000, 3.0, 0.8, 0.0091, 5.0, 2, "logistic", {"kind": "classification"}, {"fast": "f"}
    )


@pytest.fixture(params=["disk", "process"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> hrm.StateArchive:
    return hrm.StateArchive(tmp_path if request.param == "disk" else None)


def _same(a: State, b: State) -> None:
    """To the bit, in all that decides."""
    assert (a.id, a.number, a.names, a.lam, a.certificate, a.fingerprints, a.student) == (
        b.id, b.number, b.names, b.lam, b.certificate, b.fingerprints, b.student,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    features, queries = rng.standard_normal((50, len(NAMES))), rng.standard_normal((50, DIMS)).astype(np.float32)
    assert [a.decide(f.tolist()) for f in features] == [b.decide(f.tolist()) for f in features]
    assert (a.neighbours is None) == (b.neighbours is None) and (a.correction is None) == (b.correction is None)
    if a.neighbours is not None and b.neighbours is not None:
        for x, y in zip(a.neighbours.search_many(queries, 5), b.neighbours.search_many(queries, 5), strict=True):
            assert x.tobytes() == y.tobytes()
    if a.correction is not None and b.correction is not None:
        scores = rng.standard_normal((1, CLASSES)).astype(np.float32)
        assert all(a.correction(scores, q).tobytes() == b.correction(scores, q).tobytes() for q in queries)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"lam": math.inf, "correction": None},
        {"lam": -math.inf, "index": None},
        {"lam": 0.1 + 0.2, "certificate": _certificate(0.1 + 0.2)},
        {"student": Student(b"\x08\x08onnx\0" * 100, "embedding"), "index": hrm.AnnIndex},
    ],
    ids=["plain", "uncertified", "no-index", "certified", "student"],
)
def test_a_state_comes_back_to_the_bit(archive: hrm.StateArchive, other: dict) -> None:
    made = state(3, **other)
    assert made.id not in archive
    archive.save(made)
    assert made.id in archive and archive.ids() == [made.id]
    _same(archive.load(made.id), made)


def test_one_serves_at_a_time(archive: hrm.StateArchive) -> None:
    first, second = state(1), state(2)
    assert archive.current() is None
    with pytest.raises(StateError, match="is not saved"):
        archive.promote(first.id)
    for made in (first, second):
        archive.save(made)
        archive.promote(made.id)
    assert archive.current() == second.id
    archive.promote(first.id)
    assert archive.current() == first.id


def test_a_state_that_decides_alike_brings_its_new_certificate(archive: hrm.StateArchive) -> None:
    made = state(1, lam=0.5)
    archive.save(made)
    archive.save(replace(made, number=9, certificate=_certificate(0.5)))
    found = archive.load(made.id)
    assert found.number == 9 and found.certificate == _certificate(0.5) and archive.ids() == [made.id]


def test_old_states_go_but_not_those_that_are_needed(archive: hrm.StateArchive) -> None:
    ids = []
    for number in range(1, 9):
        archive.save(state(number))
        ids.append(state(number).id)
    archive.promote(ids[0])
    assert archive.ids() == ids
    assert archive.prune(keep=2, needed={ids[3], "f" * 16}) == [ids[1], ids[2], ids[4], ids[5]]
    assert archive.ids() == [ids[0], ids[3], ids[6], ids[7]]
    assert archive.prune(keep=0) == [ids[3], ids[6], ids[7]] and archive.prune(keep=0) == []
    with pytest.raises(StateError, match="serves"):
        archive.remove(ids[0])


def test_states_that_remember_a_request_are_found(archive: hrm.StateArchive) -> None:
    few, many, none = state(1, rows=5), state(2, rows=50), state(3, index=None)
    for made in (few, many, none):
        archive.save(made)
    assert archive.holding(np.array([3])) == [few.id, many.id]
    assert archive.holding(np.array([30, 31])) == [many.id] and archive.holding(np.array([], np.int64)) == []


def test_states_that_remember_what_is_forgotten_go_but_the_one_that_serves(archive: hrm.StateArchive) -> None:
    few, many, none = state(1, rows=5), state(2, rows=50), state(3, index=None)
    for made in (few, many, none):
        archive.save(made)
    archive.promote(many.id)
    assert archive.forget(np.array([3])) == [few.id] and archive.ids() == [many.id, none.id]


@pytest.mark.parametrize("where", ["disk", "process"])
def test_states_stay_within_a_limit_and_what_they_share_counts_once(where: str, tmp_path: Path) -> None:
    limit = {"disk": 100_000, "process": 180_000}[where]  # in a process the columns are kept beside the rows
    archive = hrm.StateArchive(tmp_path if where == "disk" else None, limit=limit)
    first = state(1, rows=1000)
    assert first.neighbours is not None and first.neighbours.nbytes == 1000 * (2 * 8 * 4 + 4 + 8)
    for number in range(1, 9):  # eight thresholds for one memory
        archive.save(replace(first, number=number, lam=float(number), id=""))
        archive.promote(archive.ids()[-1])
        assert archive.bytes() < limit
    assert len(archive.ids()) == 8
    serving = archive.ids()[3]
    archive.promote(serving)
    others = [state(number, rows=1000) for number in (10, 11)]
    for made in others:
        archive.save(made)
    archive.promote(serving)
    assert archive.ids() == [serving, others[1].id]
    assert archive.bytes() < limit and archive.load(serving).lam == 4.0
    archive.save(state(12, rows=5000))
    archive.promote(state(12, rows=5000).id)  # serves, though it is too large
    assert archive.ids() == [state(12, rows=5000).id]


def test_a_damaged_file_is_not_shared(tmp_path: Path) -> None:
    archive = hrm.StateArchive(tmp_path)
    first = state(1)
    archive.save(first)
    archive.promote(first.id)
    path = tmp_path / "states" / first.id / "neighbours.vectors.npy"
    path.write_bytes(_flipped(path.read_bytes(), 200))
    second = replace(first, lam=0.125, id="")
    archive.save(second)
    _same(archive.load(second.id), second)
    archive.save(first)  # mends the first, and leaves what others share alone
    _same(archive.load(first.id), first)


def test_what_is_not_there_is_told(archive: hrm.StateArchive) -> None:
    with pytest.raises(StateError, match="there is no state"):
        archive.load("0" * 16)


@pytest.mark.parametrize("id", ["", "..", "../memory", "0" * 15, "G" * 16, "0" * 16 + "/"])
def test_what_is_no_id_leads_nowhere(tmp_path: Path, id: str) -> None:
    archive = hrm.StateArchive(tmp_path)
    assert id not in archive
    with pytest.raises(StateError, match="is not the id of a state"):
        archive.load(id)


def test_any_damage_is_found(tmp_path: Path) -> None:
    archive = hrm.StateArchive(tmp_path)
    made = state(1, student=Student(b"model" * 20, "embedding"))
    archive.save(made)
    home = tmp_path / "states" / made.id
    names = sorted(p.name for p in home.iterdir())
    assert names == [
        "correction.bias.npy", "correction.weight.npy", "neighbours.labels.npy", "neighbours.requests.npy",
        "neighbours.vectors.npy", "state.json", "student.onnx",
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    for path in home.iterdir():
        whole = path.read_bytes()
        damages = [None, b"", whole[:-3], whole + b" " if path.suffix != ".json" else b"[]"]
        damages += [_flipped(whole, int(at)) for at in rng.integers(0, len(whole), 8)] if path.suffix != ".json" else []
        for damaged in damages:
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(StateError):
                archive.load(made.id)
        archive.save(made)  # mends it
        _same(archive.load(made.id), made)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": 0.25}, "holds state"),
        ({"format": 2}, "has format 2, and this version reads 1"),
        ({"names": 5}, "does not hold a state"),
        ({"scorer": {"kind": "oracle"}}, "oracle"),
        ({"neighbours": "tree"}, "no index of kind"),
        ({"certificate": {"format": "other"}}, "no certificate"),
        ({"files": {"../../secret": "00"}}, "no file of a state"),
        ({"files": {"/etc/hostname": "00"}}, "no file of a state"),
        ({"files": {"..": "00"}}, "no file of a state"),
        ({"fingerprints": None}, "does not hold a state"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_head_that_was_changed_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    archive = hrm.StateArchive(tmp_path)
    made = state(1)
    archive.save(made)
    head = tmp_path / "states" / made.id / "state.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | change))
    with pytest.raises(StateError, match=message):
        archive.load(made.id)


def test_what_is_no_name_of_a_state_cannot_serve(tmp_path: Path) -> None:
    archive = hrm.StateArchive(tmp_path)
    for text in (b"", b"../../etc\n", b"\xff\xff"):
        (tmp_path / "CURRENT").write_bytes(text)
        with pytest.raises(StateError, match="CURRENT"):
            archive.current()


def test_what_a_killed_process_left_goes_at_the_next_start_but_not_for_a_reader(tmp_path: Path) -> None:
    archive = hrm.StateArchive(tmp_path)
    archive.save(state(1))
    left = tmp_path / "states" / f".{state(2).id}.new"
    left.mkdir()
    (left / "state.json").write_text("{")
    reader = hrm.StateArchive(tmp_path, readonly=True)
    assert left.exists() and reader.ids() == [state(1).id]
    for work in (
        lambda: reader.save(state(3)),
        lambda: reader.promote(state(1).id),
        lambda: reader.remove(state(1).id),
    ):
        with pytest.raises(StateError, match="read only"):
            work()
    assert hrm.StateArchive(tmp_path).ids() == [state(1).id] and not left.exists()


def test_a_state_whose_parts_have_no_form_on_disk_is_refused(tmp_path: Path) -> None:
    class Other:
        size, labels, requests = 1, np.zeros(1, np.int32), np.zeros(1, np.int64)

    with pytest.raises(StateError, match="neighbours of Other cannot be kept on disk"):
        hrm.StateArchive(tmp_path).save(state(1, index=None, neighbours=Other()))


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX's")
def test_only_the_owner_can_read_states(tmp_path: Path) -> None:
    archive = hrm.StateArchive(tmp_path / "memory")
    archive.save(state(1))
    archive.promote(state(1).id)
    assert stat.S_IMODE((tmp_path / "memory" / "CURRENT").stat().st_mode) == 0o600
    for folder in (tmp_path / "memory", tmp_path / "memory" / "states", tmp_path / "memory" / "states" / state(1).id):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_readers_find_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    archive = hrm.StateArchive(tmp_path)
    made = [state(n) for n in range(4)]
    archive.save(made[0])
    archive.promote(made[0].id)
    wrong: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        reader = hrm.StateArchive(tmp_path, readonly=True)
        while not done.is_set():
            try:
                id = reader.current()
                assert id is not None and reader.load(id).id in {m.id for m in made}
            except BaseException as e:
                wrong.append(e)
                return

    thread = threading.Thread(target=look)
    thread.start()
    for n in range(40):
        archive.save(made[n % 4])
        archive.promote(made[n % 4].id)
    done.set()
    thread.join()
    assert not wrong
