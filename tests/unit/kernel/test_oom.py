"""The OOM killer's counter, in trees as cgroup v1, v2 and a container show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.kernel.oom import oom_kills

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
