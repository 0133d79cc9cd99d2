"""How many threads there are to be: affinity mask, control groups, RONN_THREADS, set_threads; and which one won."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ronn
from ronn import host, threads
from ronn.errors import OptionError


@pytest.fixture(autouse=True)
def _untold(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RONN_THREADS", raising=False)
    yield
    ronn.set_threads(None)


def grant(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_tightest_of_all_groups_around_holds(tmp_path: Path) -> None:
    root, own = tmp_path / "fs", tmp_path / "own"
    own.write_text("0::/outer/inner\n")
    grant(root / "outer" / "inner")
    assert host.cgroup_quota(root, own) is None
    grant(root / "outer" / "inner", cpu__max="max 100000\n")
    assert host.cgroup_quota(root, own) is None
    grant(root / "outer", cpu__max="150000 100000\n")
    assert host.cgroup_quota(root, own) == 1.5
    grant(root / "outer" / "inner", cpu__max="50000 100000\n")
    assert host.cgroup_quota(root, own) == 0.5


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1_of_a_group_of_its_own(mount: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:memory:/elsewhere\n4:cpu,cpuacct:/slice/job\n1:name=systemd:/slice\n")
    folder = tmp_path / mount / "slice" / "job"
    grant(folder, cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert host.cgroup_quota(tmp_path, own) is None
    grant(folder.parent, cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    assert host.cgroup_quota(tmp_path, own) == 3
    grant(folder, cpu__cfs_quota_us="150000", cpu__cfs_period_us="100000")
    assert host.cgroup_quota(tmp_path, own) == 1.5


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:cpu,cpuacct:/docker/0123\n0::/docker/0123\n")
    grant(tmp_path / "cpu,cpuacct", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    assert host.cgroup_quota(tmp_path, own) == 2
    grant(tmp_path, cpu__max="100000 100000")
    assert host.cgroup_quota(tmp_path, own) == 1


@pytest.mark.parametrize("text", ["", "max", "0 100000", "ten 100000", "100000 0", "-1 100000"])
def test_what_grants_nothing_limits_nothing(text: str, tmp_path: Path) -> None:
    grant(tmp_path, cpu__max=text)
    assert host.cgroup_quota(tmp_path, tmp_path / "none") is None


def test_a_group_outside_of_what_is_seen_leads_nowhere_else(tmp_path: Path) -> None:
    root, own = tmp_path / "a" / "fs", tmp_path / "own"
    own.write_text("0::/../../other\n")
    grant(tmp_path / "other", cpu__max="100000 100000")
    grant(root)
    assert host.cgroup_quota(root, own) is None


@pytest.mark.parametrize(("quota", "number"), [(0.5, 1), (1.0, 1), (2.9, 2), (1e6, None)])
def test_a_quota_counts_in_whole_processors(quota: float, number: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cgroup_quota", lambda: None)
    without = host.threads()["number"]
    monkeypatch.setattr(host, "cgroup_quota", lambda: quota)
    assert threads.default_threads() == min(without, without if number is None else number)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_the_affinity_mask_counts() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from ronn.threads import found; told = found()\n"
        "print(told['number'], told['sources']['affinity mask'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1.0"]


# --- what people say


def test_the_setting_goes_before_the_host_and_the_program_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_THREADS", "3")
    assert threads.found()["number"] == 3 and threads.found()["from"] == "RONN_THREADS"
    ronn.set_threads(5)
    told = threads.found()
    assert told["number"] == threads.default_threads() == 5 and told["from"] == "ronn.set_threads"
    assert told["sources"]["RONN_THREADS"] == 3 and "logical processors" in told["sources"]
    ronn.set_threads(None)
    assert threads.default_threads() == 3
    monkeypatch.setenv("RONN_THREADS", "0")
    assert threads.found()["from"] in host.threads()["sources"]


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", True])
def test_what_is_no_number_of_threads(bad: object) -> None:
    with pytest.raises(OptionError, match="from 1 on"):
        ronn.set_threads(bad)
    assert threads.limit() is None
