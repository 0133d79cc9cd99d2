from pathlib import Path

import pytest
from remembered import decision, digest, episode, state

import ronn_hrm as hrm
from ronn_hrm.errors import StateError
from ronn_hrm.memory.snapshot import open_copy, restore, snapshot


def _filled(folder: Path | None, first: int, count: int = 20) -> tuple[hrm.EpisodicStore, hrm.StateArchive]:
    store, archive = hrm.EpisodicStore(folder), hrm.StateArchive(folder)
    for n in range(first, first + count):
        store.append(episode(n))
        store.log(decision(n, state(first)), digest(n))
    store.put("epoch", first)
    archive.save(state(first))
    archive.promote(state(first).id)
    return store, archive


def _holds(store: hrm.EpisodicStore, archive: hrm.StateArchive, first: int) -> None:
    assert store.episodes().request.tolist() == list(range(first, first + 20))
    assert store.get("epoch") == first and len(store.logged()) == 20
    assert archive.current() == state(first).id and archive.load(state(first).id).lam == state(first).lam


@pytest.mark.parametrize("where", ["disk", "process"])
def test_a_snapshot_is_all_of_it_at_one_moment_and_can_be_opened(where: str, tmp_path: Path) -> None:
    store, archive = _filled(tmp_path / "memory" if where == "disk" else None, 1)
    with store:
        key = store.key
        assert snapshot(store, archive, tmp_path / "copy") == tmp_path / "copy"
        store.append(episode(100))
        archive.save(state(50))
        archive.promote(state(50).id)
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == ["CURRENT", "memory.sqlite", "states"]
    assert (tmp_path / "copy" / "memory.sqlite").stat().st_mode & 0o077 == 0
    found = open_copy(tmp_path / "copy")
    with found[0]:
        _holds(*found, 1)
        assert found[0].key == key
        found[0].append(episode(200))  # the snapshot stays as it is
    with hrm.EpisodicStore(tmp_path / "copy") as opened:
        _holds(opened, hrm.StateArchive(tmp_path / "copy"), 1)


def test_a_snapshot_goes_where_nothing_is(tmp_path: Path) -> None:
    store, archive = _filled(None, 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with store:
        for name in ("full", "full/file"):
            with pytest.raises(StateError, match="is there already"):
                snapshot(store, archive, tmp_path / name)
        snapshot(store, archive, tmp_path / "empty")
        with pytest.raises(StateError):
            snapshot(store, archive, tmp_path / "full" / "file" / "below")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "full"]


def test_restoring_puts_all_back(tmp_path: Path) -> None:
    for name, first in (("old", 1), ("now", 500)):
        store, archive = _filled(tmp_path / name, first)
        if name == "old":
            snapshot(store, archive, tmp_path / "copy")
        store.close()
    restore(tmp_path / "copy", tmp_path / "now")
    with hrm.EpisodicStore(tmp_path / "now") as store:
        archive = hrm.StateArchive(tmp_path / "now")
        _holds(store, archive, 1)
        assert archive.ids() == [state(1).id]
    restore(tmp_path / "copy", tmp_path / "new")
    with hrm.EpisodicStore(tmp_path / "new") as store:
        _holds(store, hrm.StateArchive(tmp_path / "new"), 1)


def test_a_folder_in_use_or_half_restored_is_not_touched(tmp_path: Path) -> None:
    store, archive = _filled(tmp_path / "now", 1)
    with store:
        snapshot(store, archive, tmp_path / "copy")
        with pytest.raises(StateError, match="is in use by another session"):
            restore(tmp_path / "copy", tmp_path / "now")
    (tmp_path / "now" / "RESTORING").write_text("copy")
    with pytest.raises(StateError, match=r"a snapshot was not restored to the end\nhint: restore it again"):
        hrm.EpisodicStore(tmp_path / "now")
    restore(tmp_path / "copy", tmp_path / "now")
    with hrm.EpisodicStore(tmp_path / "now") as store:
        _holds(store, hrm.StateArchive(tmp_path / "now"), 1)


def test_what_is_no_snapshot_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    store, archive = _filled(tmp_path / "now", 1)
    with store:
        snapshot(store, archive, tmp_path / "copy")
    with pytest.raises(StateError, match="holds no snapshot"):
        restore(tmp_path / "nothing", tmp_path / "now")
    (tmp_path / "copy" / "states" / state(1).id / "state.json").write_text("{}")
    with pytest.raises(StateError, match="does not hold a state"):
        restore(tmp_path / "copy", tmp_path / "now")
    with hrm.EpisodicStore(tmp_path / "now") as store:
        _holds(store, hrm.StateArchive(tmp_path / "now"), 1)
