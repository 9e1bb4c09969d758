"""The CPU limit of a container, from trees as the kernel shows them."""

# ruff: noqa: E501  tables and messages stay on one line
from __future__ import annotations

import os

import pytest

from entrypoint.kernel.cgroup import (
    cpu_limit,
    cpu_limit_files,
    memory_filled,
    pids_limit,
    usable_cpus,
)


def tree(tmp_path, memberships, files):
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(memberships)
    root.mkdir()
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"root": str(root), "proc": str(proc)}


@pytest.mark.parametrize(
    ("memberships", "files", "limit"),
    [
        # v2, in a cgroup namespace
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        # v2, of which a deeper group or an ancestor has the limit
        ("0::/a/b\n", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "200000 100000\n"}, 2.0),
        # v2, the host's path but only the container's own part is mounted
        ("0::/docker/abc\n", {"cpu.max": "200000 100000\n"}, 2.0),
        # v2, moved out of its namespace
        ("0::/../other\n", {"cpu.max": "200000 100000\n"}, 2.0),
        # v1
        (
            "4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            "4:cpuacct,cpu:/docker/abc\n",
            {"cpu/docker/abc/cpu.cfs_quota_us": "100000\n", "cpu/docker/abc/cpu.cfs_period_us": "100000\n"},
            1.0,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        # hybrid: controllers of v1, and v2 beside them
        (
            "4:cpu:/a\n0::/a\n",
            {"cpu/a/cpu.cfs_quota_us": "300000\n", "cpu/a/cpu.cfs_period_us": "100000\n",
             "unified/a/cgroup.procs": "1\n"},
            3.0,
        ),
        # nothing there, and nonsense
        ("", {}, None),
        ("0::/\n", {"cpu.max": "lots\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("what\n4:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "1\n"}, None),
    ],
)  # fmt: skip
def test_limits(tmp_path, memberships, files, limit):
    assert cpu_limit(**tree(tmp_path, memberships, files)) == limit


@pytest.mark.parametrize(
    ("quota", "cpus"), [("50000", 1), ("100000", 1), ("150000", 2), ("900000", 4)]
)
def test_cpus_are_the_limit_rounded_up_within_the_mask(tmp_path, monkeypatch, quota, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert usable_cpus(**tree(tmp_path, "0::/\n", {"cpu.max": f"{quota} 100000\n"})) == cpus


def test_without_files(tmp_path):
    assert cpu_limit(str(tmp_path / "a"), str(tmp_path / "b")) is None
    assert 1 <= usable_cpus(str(tmp_path), str(tmp_path)) <= len(os.sched_getaffinity(0))


def test_here():
    assert usable_cpus() >= 1


@pytest.mark.parametrize(
    ("memberships", "files", "limit"),
    [
        ("0::/\n", {"pids.max": "20\n", "pids.current": "7\n"}, (20, 7)),
        ("0::/\n", {"pids.max": "max\n", "pids.current": "7\n"}, None),
        ("0::/\n", {}, None),
        # The one nearest to being hit, of a pod and of its container.
        (
            "0::/pod/c\n",
            {
                "pod/pids.max": "100\n",
                "pod/pids.current": "99\n",
                "pod/c/pids.max": "50\n",
                "pod/c/pids.current": "10\n",
            },
            (100, 99),
        ),
        ("8:pids:/docker/abc\n", {"pids/pids.max": "9\n", "pids/pids.current": "9\n"}, (9, 9)),
    ],
)
def test_the_pids_limit(tmp_path, memberships, files, limit):
    assert pids_limit(**tree(tmp_path, memberships, files)) == limit


def test_the_files_that_a_change_of_the_limit_is_written_to(tmp_path):
    found = cpu_limit_files(**tree(tmp_path, "0::/a\n", {"a/cpu.max": "max 100000\n"}))
    assert [path.removeprefix(str(tmp_path)).rpartition("/a/")[2] for path in found] == ["cpu.max"]
    assert cpu_limit_files(str(tmp_path / "none"), str(tmp_path / "none")) == ()


def test_how_full_the_tightest_memory_limit_is(tmp_path):
    files = {
        "memory.max": "1000\n",
        "memory.stat": "anon 900\nfile 50\n",
        "a/memory.max": "400\n",
        "a/memory.stat": "anon 100\nfile 290\n",
    }
    assert memory_filled(**tree(tmp_path, "0::/a\n", files)) == 0.25


def test_a_container_without_a_memory_limit_is_never_full(tmp_path):
    files = {"memory.max": "max\n", "memory.stat": "anon 900\n"}
    assert memory_filled(**tree(tmp_path, "0::/\n", files)) == 0.0
