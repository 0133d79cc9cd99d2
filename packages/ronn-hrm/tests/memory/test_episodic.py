import json
import math
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remembered import NAMES, decision, digest, episode, state

import ronn_hrm as hrm
from ronn.errors import OptionError
from ronn_hrm.errors import StateError
from ronn_hrm.history import History, read_history
from ronn_hrm.memory.codec import to_bytes
from ronn_hrm.metrics import Metrics


class _Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["disk", "process"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "memory" if request.param == "disk" else None


def _requests(store: hrm.EpisodicStore, **which: Any) -> list[int]:
    return store.episodes(**which).request.tolist()


def test_an_episode_comes_back_as_it_was(folder: Path | None) -> None:
    inputs = {"x": np.arange(6, dtype=np.int64).reshape(2, 3), "text": np.array(["a", "b\0"], object)}
    given_ = [
        episode(2, inputs=inputs, namespace="n", client="c", epoch=3, role="gate", lam=0.25),
        episode(1, fast=None, loss=math.nan, score=-math.inf, embedding=None, role=""),
    ]
    with hrm.EpisodicStore(folder, hrm.Memory(store_inputs=True)) as store:
        for e in given_:
            store.append(e)
        found = store.episodes()
        assert len(found) == store.count() == 2
        first, second = given_[1], given_[0]
        assert found.request.tolist() == [1, 2] and found.digest == [first.digest, second.digest]
        assert found.role == ["", "gate"] and found.namespace == ["", "n"] and found.epoch.tolist() == [0, 3]
        assert found.at.tolist() == [first.at, second.at] and found.path == ["full", "full"]
        assert np.array_equal(found.features, np.stack([first.features, second.features]))
        assert found.embedding is not None and second.embedding is not None
        assert np.isnan(found.embedding[0]).all() and np.array_equal(found.embedding[1], second.embedding)
        assert found.fast[0] is None and np.array_equal(found.fast[1], second.fast)
        assert np.array_equal(found.full[0], first.full) and found.full[0].dtype == np.float32
        assert math.isnan(found.loss[0]) and found.score.tolist() == [-math.inf, second.score]
        assert found.inputs[0] is None and found.inputs[1]["text"].tolist() == ["a", "b\0"]
        assert np.array_equal(found.inputs[1]["x"], inputs["x"])
        light = store.episodes(answers=False)
        assert light.full == light.fast == light.inputs == [None, None] and light.score.tolist() == found.score.tolist()


def test_inputs_are_not_kept_unless_asked_for(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder) as store:
        store.append(episode(1, inputs={"x": np.arange(3)}))
        assert store.episodes().inputs == [None]


def test_episodes_are_chosen_by_what_is_asked_and_the_newest_stay(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder) as store:
        for n in range(1, 41):
            store.append(
                episode(n, role=("train", "fit", "calibrate", "")[n % 4], namespace="ab"[n % 2], epoch=n // 20)
            )
        assert _requests(store, roles=["fit", "calibrate"]) == [n for n in range(1, 41) if n % 4 in (1, 2)]
        assert _requests(store, namespace="a", epoch=1) == list(range(20, 40, 2))
        assert _requests(store, since=1030.0) == list(range(30, 41))
        assert _requests(store, limit=3) == [38, 39, 40] and _requests(store, limit=0) == []
        assert _requests(store, roles=[]) == []
        assert store.count("fit") == 10 and store.count() == 40 and len(store.episodes(namespace="none")) == 0
        with pytest.raises(OptionError, match="no role 'test'"):
            store.episodes(roles=["test"])


def test_the_same_request_again_replaces_its_episode(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder) as store:
        store.append(episode(1, role=""))
        store.append(episode(1, role="gate"))
        assert store.episodes().role == ["gate"]


def test_decisions_are_logged_and_explained_by_the_state_that_decided(folder: Path | None) -> None:
    decided = state(3)
    with hrm.EpisodicStore(folder) as store:
        for n in (1, 2, 3):
            store.log(decision(n, decided), digest(n % 2), "tenant", at=5.0 + n)
        store.log(replace(decision(4), score=None, features=(), neighbours=(), path="cache"), digest(1), at=9.0)
        found = store.logged()
        assert [entry.decision.id for entry in found] == [1, 2, 3, 4]
        assert found[2].decision == decision(3, decided) and found[2].namespace == "tenant" and found[2].at == 8.0
        explained = found[2].explained(decided)
        assert explained.score == decision(3, decided).score and [name for name, _ in explained.reasons] == list(NAMES)
        assert math.isclose(sum(v for _, v in explained.reasons) + decided.scorer.bias, explained.score or 0.0)
        assert found[3].decision.path == "cache" and found[3].decision.score is None
        assert found[3].explained(replace(decided, id="0" * 16)) == found[3].decision
        with pytest.raises(StateError, match="was decided by state"):
            found[0].explained(state(4))
        with pytest.raises(StateError, match="the log says"):
            replace(found[0], decision=replace(found[0].decision, score=1.0)).explained(decided)
        assert [e.decision.id for e in store.logged(ids=[3, 1, 99])] == [1, 3]
        assert [e.decision.id for e in store.logged(since=7.0, limit=2)] == [3, 4]
        assert store.states() == {decided.id, "0" * 16}
        assert store.occurrences() == {digest(0): 1, digest(1): 3}


def test_what_people_say_is_kept_as_long_as_the_request_is(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder) as store:
        for n in (1, 2, 3):
            store.log(decision(n), digest(n))
            store.feedback(n, n * 10)
        store.feedback(2, [4, "x"])
        store.feedback(9, "there is no such request")
        assert [entry.feedback for entry in store.logged()] == [10, [4, "x"], 30]
        with pytest.raises(OptionError, match=r"feedback on request 1.* has no form in JSON"):
            store.feedback(1, object())
        store.forget(digest=digest(2))
        store.log(decision(2), digest(2))
        assert [entry.feedback for entry in store.logged()] == [10, None, 30]
        assert store._rows("SELECT COUNT(*) FROM feedback", ()) == [(2,)]


def test_all_goes_on_after_a_restart(tmp_path: Path) -> None:
    with hrm.EpisodicStore(tmp_path) as store:
        key, first = store.key, [store.number() for _ in range(10)]
        store.put("epoch", 4)
        store.put("detector", {"sum": 0.1, "bets": [1.5]})
        store.append(episode(1))
    assert first == list(range(1, 11)) and len(key) == 32
    with hrm.EpisodicStore(tmp_path) as store:
        assert store.key == key and store.number() == 11 and store.starts == 2
        assert store.get("epoch") == 4 and store.get("detector") == {"sum": 0.1, "bets": [1.5]}
        assert store.get("nothing", 7) == 7 and _requests(store) == [1]
    with hrm.EpisodicStore() as other:
        assert other.key != key


def test_numbers_are_never_given_twice_even_where_nothing_was_closed(tmp_path: Path) -> None:
    store = hrm.EpisodicStore(tmp_path)
    given_ = [store.number() for _ in range(10_000)]
    assert given_ == list(range(1, 10_001))
    store.flush()
    with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as other:  # as it were after a crash now
        reserved = json.loads(other.execute("SELECT value FROM entries WHERE name = 'next request'").fetchone()[0])
    assert 10_000 < reserved < 10_000 + 3 * 4096
    store.close()


def test_forgetting_removes_from_all_tables_and_from_what_waits(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder) as store:
        cache = hrm.ExactCache(1 << 20, fingerprint="f")
        for n in range(1, 21):
            cache.put(digest(n), {"y": np.zeros(2)}, "ab"[n % 2], at=1000.0 + n)
        store.keep_exact(cache)
        for n in range(1, 21):
            store.append(episode(n, namespace="ab"[n % 2]))
            store.log(decision(n), digest(n), "ab"[n % 2], at=1000.0 + n)
        assert store.requests_of(namespace="a").tolist() == list(range(2, 21, 2))
        assert store.forget(digest=digest(3)) == 2  # the episode and the answer; they waited until now
        assert store.forget(digest=digest(5), namespace="a") == 0
        assert store.forget(before=1011.0, namespace="b") == 8
        assert store.forget(namespace="a") == 20
        assert _requests(store) == [e.decision.id for e in store.logged()] == [11, 13, 15, 17, 19]
        back = hrm.ExactCache(1 << 20, fingerprint="f")
        assert store.recall_exact(back) == 5 and back.get(digest(11), "b") is not None
        with pytest.raises(OptionError, match="nothing to forget was named"):
            store.forget()


def test_requests_to_forget_are_known_even_where_their_episodes_gave_way(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder, hrm.Memory(episodes=10)) as store:
        for n in range(1, 31):
            store.append(episode(n))
            store.log(decision(n), digest(n), at=1000.0 + n)
        store.append(episode(40))
        assert store.count() <= 10
        assert store.requests_of(digest=digest(2)).tolist() == [2]
        assert store.requests_of(before=5000.0).tolist() == [*range(1, 31), 40]


def test_what_is_forgotten_is_not_in_the_files_any_more(tmp_path: Path) -> None:
    secret = np.frombuffer(b"a very secret input of somebody!" * 64, np.uint8)
    with hrm.EpisodicStore(tmp_path, hrm.Memory(store_inputs=True)) as store:
        for n in range(1, 30):
            store.append(episode(n, namespace="b", inputs={"x": secret if n == 9 else np.zeros(2048, np.uint8)}))
        store.flush()
        assert any(secret.tobytes()[:32] in p.read_bytes() for p in tmp_path.iterdir())
        assert store.forget(digest=digest(9)) == 1
        assert not any(secret.tobytes()[:32] in p.read_bytes() for p in tmp_path.iterdir())


def test_the_number_of_episodes_is_bounded_and_certifying_ones_go_last(folder: Path | None) -> None:
    roles = ("train", "", "calibrate", "fit", "gate")
    with hrm.EpisodicStore(folder, hrm.Memory(episodes=100)) as store:
        for n in range(1, 201):
            store.append(episode(n, role=roles[n % 5], epoch=1 if n > 20 else 0))
        found = store.episodes()
        assert 95 <= len(found) <= 100
        now = found.where(found.epoch == 1)
        assert len(now.of_role("calibrate", "gate")) == 72  # all of them
        assert not len(found.where(found.epoch == 0))  # those of an earlier epoch certify nothing
        assert max(n for n in range(1, 201) if roles[n % 5] == "fit") in found.request
        assert not len(found.of_role("train", ""))


def test_bytes_of_episodes_are_bounded(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder, hrm.Memory(episodes_mb=0.5, store_inputs=True)) as store:
        for n in range(1, 201):
            store.append(episode(n, inputs={"x": np.zeros(10_000, np.uint8)}))
            if n % 50 == 0:
                sizes = store.sizes()
                assert sizes["episode_bytes"] <= 1 << 19
        kept = _requests(store)
        assert kept == list(range(201 - len(kept), 201)) and 40 < len(kept) < 53


def test_the_log_is_bounded(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder, hrm.Memory(requests_mb=0.02)) as store:
        for n in range(1, 501):
            store.log(decision(n), digest(n))
        ids = [entry.decision.id for entry in store.logged()]
        assert ids == list(range(501 - len(ids), 501)) and 50 < len(ids) < 110
        assert store.sizes()["request_bytes"] <= 0.02 * (1 << 20)


def test_what_is_too_old_is_not_seen_and_goes(folder: Path | None) -> None:
    clock = _Clock(1000.0)
    with hrm.EpisodicStore(folder, hrm.Memory(ttl="100s"), clock=clock) as store:
        for n in range(1, 11):
            store.append(episode(n))
            store.log(decision(n), digest(n), at=1000.0 + n)
        clock.now = 1105.0
        assert _requests(store) == [e.decision.id for e in store.logged()] == list(range(5, 11)) and store.count() == 6
        store.append(episode(11))
        assert store.sizes()["episodes"] == 7 and store.sizes()["requests"] == 6  # swept with that batch


def test_a_bad_episode_is_told_and_the_others_are_kept(folder: Path | None) -> None:
    with hrm.EpisodicStore(folder) as store:
        bad = [
            episode(2, full=np.array([{}], object)),
            episode(3, namespace=7),
            episode(1, request=1 << 70),
            episode(4, path="\ud800"),
        ]
        for at, e in enumerate(bad):
            store.append(e)
            store.append(episode(100 + at))
            with pytest.raises(StateError, match="could not be kept"):
                store.flush()
        store.flush()
        assert _requests(store) == [100, 101, 102, 103]
        with pytest.raises(OptionError, match="'x' has no form in JSON"):
            store.put("x", object())


def test_a_full_disk_is_told_nothing_is_lost_and_it_goes_on(tmp_path: Path) -> None:
    with hrm.EpisodicStore(tmp_path) as store:
        store.append(episode(1))
        store.flush()
        pages = store._database.connection.execute("PRAGMA page_count").fetchone()[0]
        store._database.connection.execute(f"PRAGMA max_page_count = {pages}")
        for n in range(2, 60):
            try:
                store.append(episode(n))
            except StateError:
                break
        with pytest.raises(StateError, match=r"memory.sqlite: .*full\nhint: make room on the disk"):
            store.flush()
        with pytest.raises(StateError, match="full"):
            store.flush()
        assert store.waiting > 0
        store._database.connection.execute("PRAGMA max_page_count = 1000000")
        try:
            store.flush()  # an attempt that began before may still tell of the full disk
        except StateError:
            store.flush()
        found = _requests(store)
        assert found == list(range(1, len(found) + 1)) and len(found) > 50


def test_appending_waits_for_room_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ronn_hrm.memory.episodic._WAITING", 20_000)
    most = 0
    with hrm.EpisodicStore(tmp_path, hrm.Memory(store_inputs=True)) as store:
        x = {"x": np.zeros(5000, np.uint8)}
        for n in range(1, 101):
            store.append(episode(n, inputs=x))
            most = max(most, store.waiting)
        assert most <= 5
        assert store.count() == 100


def test_readers_and_writers_in_eight_threads(folder: Path | None) -> None:
    errors: list[BaseException] = []
    with hrm.EpisodicStore(folder) as store:

        def write(seed: int) -> None:
            for _ in range(150):
                n = store.number()
                store.append(episode(n, namespace=str(seed)))
                store.log(decision(n), digest(n), str(seed))

        def read(seed: int) -> None:
            for _ in range(10):
                found = store.episodes(limit=50)
                for row, number in enumerate(found.request.tolist()):
                    assert np.array_equal(found.features[row], episode(number).features)
                assert found.request.tolist() == sorted(set(found.request.tolist()))

        def guarded(work: Any, seed: int) -> None:
            try:
                work(seed)
            except BaseException as e:
                errors.append(e)

        threads = [threading.Thread(target=guarded, args=(write if n % 2 else read, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert _requests(store) == list(range(1, 601)) == [e.decision.id for e in store.logged()]
        assert store.forget(namespace="1") == 150 and store.count() == 450


def test_a_store_that_nobody_closes_is_written_all_the_same(tmp_path: Path) -> None:
    store = hrm.EpisodicStore(tmp_path)
    store.append(episode(1))
    del store
    with hrm.EpisodicStore(tmp_path) as again:
        assert _requests(again) == [1]


def test_a_program_that_ends_without_closing_has_written_all(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import ronn_hrm as hrm; from remembered import episode\n"
        "store = hrm.EpisodicStore(sys.argv[1])\n"
        "for n in range(1, 51): store.append(episode(n))\n"
    )
    here = str(Path(__file__).parents[1])
    subprocess.run([sys.executable, "-c", program, str(tmp_path), here], check=True)
    with hrm.EpisodicStore(tmp_path) as store:
        assert _requests(store) == list(range(1, 51))


def test_one_session_at_a_time(tmp_path: Path) -> None:
    with hrm.EpisodicStore(tmp_path) as store:
        with pytest.raises(StateError, match="is in use by another session"):
            hrm.EpisodicStore(tmp_path)
        program = "import sys, ronn_hrm as hrm; hrm.EpisodicStore(sys.argv[1])"
        other = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
        assert other.returncode == 1 and f"in use by process {os.getpid()}" in other.stderr
        assert "hint: one session at a time" in other.stderr
        store.append(episode(1))
    hrm.EpisodicStore(tmp_path).close()


def test_others_may_look_meanwhile_and_change_nothing(tmp_path: Path) -> None:
    with hrm.EpisodicStore(tmp_path) as store:
        store.append(episode(1))
        store.flush()
        with hrm.EpisodicStore(tmp_path, readonly=True) as other:
            assert _requests(other) == [1] and other.key == store.key
            store.append(episode(2))
            store.flush()
            assert _requests(other) == [1, 2]
            for work in (lambda: other.append(episode(3)), other.number, other.flush, lambda: other.forget(before=1.0)):
                with pytest.raises(StateError, match="read only"):
                    work()
    with pytest.raises(StateError, match="holds no memory"):
        hrm.EpisodicStore(tmp_path / "nothing", readonly=True)


def test_after_close_nothing_is_taken(folder: Path | None) -> None:
    store = hrm.EpisodicStore(folder)
    store.close()
    store.close()
    with pytest.raises(StateError, match="memory is closed"):
        store.append(episode(1))
    with pytest.raises(StateError, match="memory is closed"):
        store.episodes()


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX's")
def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with hrm.EpisodicStore(tmp_path / "memory") as store:
            store.append(episode(1))
            store.flush()
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "memory").iterdir()}
            assert set(modes.values()) == {0o600} and len(modes) == 4, modes
            assert stat.S_IMODE((tmp_path / "memory").stat().st_mode) == 0o700
    finally:
        os.umask(old)


def test_files_of_other_programs_and_versions_are_refused_and_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "memory.sqlite"
    file.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StateError, match=r"memory.sqlite: .*not a database\nhint: it is damaged or another program's"):
        hrm.EpisodicStore(tmp_path)
    assert file.read_bytes() == b"something else entirely" * 100
    file.unlink()
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE cooking (recipe TEXT)")
    with pytest.raises(StateError, match="another program's database"):
        hrm.EpisodicStore(tmp_path)
    file.unlink()
    hrm.EpisodicStore(tmp_path).close()
    with sqlite3.connect(file) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="has schema 99, and this version of ronn-hrm reads 1"):
        hrm.EpisodicStore(tmp_path)


def test_a_damaged_file_is_an_error_with_a_cure(tmp_path: Path) -> None:
    with hrm.EpisodicStore(tmp_path) as store:
        for n in range(1, 300):
            store.append(episode(n))
    file = tmp_path / "memory.sqlite"
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(10):
        damaged = bytearray(whole)
        start = int(rng.integers(0, len(whole) - 9000))
        damaged[start : start + 9000] = rng.bytes(9000)
        file.write_bytes(damaged)
        try:
            with hrm.EpisodicStore(tmp_path) as store:
                store.append(episode(1000))
                store.forget(before=1100.0)
                assert len(store.episodes()) >= 0
        except StateError as e:
            assert str(file) in str(e) or "cannot be read" in str(e)


def test_a_damaged_row_is_an_error(tmp_path: Path) -> None:
    for column, data in (("full", to_bytes(np.zeros(3))[:-3]), ("features", b"abc"), ("embedding", b"a"), ("at", "x")):
        with hrm.EpisodicStore(tmp_path / column) as store:
            store.append(episode(1))
            store.flush()
            store._do(lambda db, c=column, d=data: db.connection.execute(f"UPDATE episodes SET {c} = ?", (d,)).rowcount)
            with pytest.raises(StateError, match="cannot be read"):
                store.episodes()


def test_a_folder_that_cannot_be_made_is_an_error_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"memory folder .*file.*\nhint: name a folder that this user may write to"):
        hrm.EpisodicStore(tmp_path / "file" / "memory")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_is_told_and_the_parent_goes_on(tmp_path: Path) -> None:
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "import ronn_hrm as hrm; from ronn_hrm.errors import StateError; from remembered import episode\n"
        "store = hrm.EpisodicStore(sys.argv[1]); store.append(episode(1))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try: store.append(episode(2))\n"
        "    except StateError as e: sys.exit(7 if 'forked' in str(e) else 8)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "store.append(episode(3))\n"
        "reads, writes = os.pipe(); child = os.fork()\n"
        "if not child: os.close(writes); os.read(reads, 1); sys.exit()\n"
        "store.close(); hrm.EpisodicStore(sys.argv[1]).close()  # a child that lives on holds nothing\n"
        "os.close(writes); os.waitpid(child, 0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parents[1])], check=True)
    with hrm.EpisodicStore(tmp_path) as store:
        assert _requests(store) == [1, 3]


def test_kept_answers_come_back_for_the_same_models_only(tmp_path: Path) -> None:
    with hrm.EpisodicStore(tmp_path) as store:
        cache = hrm.ExactCache(1 << 20, fingerprint="a")
        cache.put(digest(1), {"y": np.arange(3, dtype=np.float16), "t": np.array(["x"], object)}, "n", at=5.0)
        store.keep_exact(cache)
    with hrm.EpisodicStore(tmp_path) as store:
        same, other = (hrm.ExactCache(1 << 20, fingerprint=f) for f in "ab")
        assert store.recall_exact(same) == 1
        found = same.get(digest(1), "n")
        assert found is not None and found["y"].dtype == np.float16 and found["t"].tolist() == ["x"]
        assert [(n, d, at) for n, d, at, _ in same.entries()] == [("n", digest(1), 5.0)]
        assert store.recall_exact(other) == 0 and store.recall_exact(same) == 0  # gone: they were of another model


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 30), st.sampled_from(["train", "calibrate", "fit", ""])),
            st.tuples(st.just("forget"), st.integers(1, 30), st.just("")),
            st.tuples(st.just("before"), st.integers(1, 30), st.just("")),
            st.tuples(st.just("read"), st.integers(0, 10), st.just("")),
        ),
        max_size=30,
    )
)
def test_it_holds_what_a_dictionary_would(steps: list[tuple[str, int, str]]) -> None:
    known: dict[int, str] = {}
    with hrm.EpisodicStore() as store:
        for what, n, role in steps:
            if what == "append":
                store.append(episode(n, role=role))
                known[n] = role
            elif what == "forget":
                assert store.forget(digest=digest(n)) == (n in known)
                known.pop(n, None)
            elif what == "before":
                gone = {m for m in known if 1000.0 + m < 1000.0 + n}
                assert store.forget(before=1000.0 + n) == len(gone)
                known = {m: r for m, r in known.items() if m not in gone}
            else:
                found = store.episodes(limit=n)
                expected = sorted(known)[max(len(known) - n, 0) :]
                assert found.request.tolist() == expected and found.role == [known[m] for m in expected]
        assert store.count() == len(known)


@pytest.mark.parametrize("first", ["history", "memory"])
def test_the_history_of_a_stream_is_in_the_same_file(tmp_path: Path, first: str) -> None:
    if first == "memory":
        hrm.EpisodicStore(tmp_path).close()
    history = History(Metrics(), tmp_path)
    with hrm.EpisodicStore(tmp_path) as store:
        for n in range(1, 20):
            store.append(episode(n))
            history.event("state", n)
        assert store.count() == 19
    history.close()
    assert len(read_history(tmp_path)[1]) == 19
