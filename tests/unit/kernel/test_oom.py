"""The OOM killer's counter, in trees as cgroup v1, v2 and a container show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.kernel.cgroup import memory_limit
from entrypoint.kernel.oom import oom_kills, workers_adjustment

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 0\nmax 41\noom 5\noom_kill {}\noom_group_kill 9\n"


def tree(folder: Path, cgroup: str, **files: str) -> dict[str, str]:
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "cgroup").mkdir(exist_ok=True)
    return {"root": str(folder / "cgroup"), "proc": str(folder / "proc")}


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        # A container's own cgroup namespace, v2: the root is its cgroup.
        ("0::/\n", {"memory.events": V2.format(2)}, 2),
        # Outside of one: the path leads there, and the root's counter is somebody else's.
        ("0::/a/b\n", {"memory.events": V2.format(9), "a/b/memory.events": V2.format(3)}, 3),
        # v1, and v1 beside an empty v2 (hybrid).
        ("4:memory:/a\n0::/\n", {"memory/a/memory.oom_control": V1.format(1)}, 1),
        ("4:cpu,memory:/x/y\n", {"memory/memory.oom_control": V1.format(6)}, 6),
        # The path is the host's, the mount the container's own.
        ("0::/docker/abc\n", {"memory.events": V2.format(4)}, 4),
        # Nothing tells.
        ("0::/\n", {}, None),
        ("", {"memory.events": "oom_kill many\n"}, None),
        # Kernels before 4.13 have no such line.
        ("4:memory:/\n", {"memory/memory.oom_control": "under_oom 0\n"}, None),
    ],
)
def test_the_counter_of_this_cgroup(tmp_path, cgroup, files, expected) -> None:
    assert oom_kills(**tree(tmp_path, cgroup, **files)) == expected


def test_without_proc(tmp_path) -> None:
    assert oom_kills(str(tmp_path), str(tmp_path)) is None


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "268435456\n"}, 268435456),
        ("0::/\n", {"memory.max": "max\n"}, 8 << 30),
        ("0::/a/b\n", {"a/memory.max": "300000000\n", "a/b/memory.max": "max\n"}, 300000000),
        ("4:memory:/a\n0::/\n", {"memory/memory.limit_in_bytes": "100000000\n"}, 100000000),
        # v1 without a limit says more than there is.
        ("4:memory:/a\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8 << 30),
    ],
)
def test_the_memory_of_a_container_is_its_limit_or_the_machines(tmp_path, cgroup, files, expected):
    where = tree(tmp_path, cgroup, **files)
    (tmp_path / "proc/meminfo").write_text("MemTotal:        8388608 kB\nMemFree: 1 kB\n")
    assert memory_limit(**where) == expected


def test_unknown_memory_is_none(tmp_path):
    assert memory_limit(**tree(tmp_path, "")) is None


@pytest.mark.parametrize(
    ("own", "limit", "expected"),
    [
        ("0", 1 << 40, 1),
        ("0", 1 << 30, 40),
        ("0", 64 << 20, 100),
        ("950", 64 << 20, 1000),
        ("-500", 1 << 30, -460),
        ("0", None, None),
        ("", 1 << 30, None),
    ],
)
def test_workers_count_for_more_than_pid_1(tmp_path, own, limit, expected):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/oom_score_adj").write_text(f"{own}\n")
    assert workers_adjustment(limit, str(tmp_path)) == expected
