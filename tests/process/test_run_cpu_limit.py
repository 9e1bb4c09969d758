"""A change of the container's CPU limit at run time: `instances: max` follows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.process.test_run_logs import python
from tests.support.run import Run

pytestmark = [pytest.mark.process, pytest.mark.pid1]

PERIOD = 100_000


@pytest.fixture
def group():
    """A new cgroup with a limit of one CPU, v1 or v2, and how to change it."""
    name = f"pyinit-test-{os.getpid()}"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            root, file, text = Path("/sys/fs/cgroup", controllers), "cpu.cfs_quota_us", "{quota}"
        elif not controllers and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            root, file, text = Path("/sys/fs/cgroup"), "cpu.max", f"{{quota}} {PERIOD}"
        else:
            continue
        made = root / path.strip("/") / name

        def limit(cpus: int, made=made, file=file, text=text) -> None:
            (made / file).write_text(text.format(quota=cpus * PERIOD))

        try:
            made.mkdir()
            limit(1)
        except OSError:
            if made.exists():
                made.rmdir()
            continue
        yield made, limit
        made.rmdir()
        return
    pytest.skip("no cgroup with a CPU limit can be made here")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_instances_follow_the_limit(tmp_path, group) -> None:
    made, limit = group
    enter = ("sh", "-c", f'echo $$ > "{made}/cgroup.procs"; exec "$@"', "sh")
    app = python(tmp_path, "app", "import signal\nsignal.pause()", instances="max")
    with Run(tmp_path, [app], wrap=enter) as run:
        run.event("worker ready")
        assert len(run.events("worker started")) == 1
        limit(2)
        changed = run.event("cpus changed")
        assert (changed["was"], changed["cpus"]) == (1, 2)
        run.event("worker started", 2)
        run.event("worker ready", 2)
        limit(1)
        run.event("worker exited", expected=True)
        assert run.event("app scaled", 2)["instances"] == 1
        assert run.stop() == 0
