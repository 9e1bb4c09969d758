"""Keys that say how a worker's process is set up, seen from inside that process."""

from __future__ import annotations

import sys

from tests.support.commands import pyinit
from tests.support.ports import free_port
from tests.support.run import Run

LOCKED = """
import http.server, os, sys
name = sys.argv[2]
try:
    os.kill(int(open(name).read()), 0)
    sys.exit(f"already running: {name}")
except (OSError, ValueError):
    pass
open(name, "w").write(str(os.getpid()))
print("numbers", sys.argv[3], os.environ["PYINIT_SLOT"], os.environ["NODE_APP_INSTANCE"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), None).serve_forever()
"""


def test_two_living_workers_never_share_a_slot_or_a_number(tmp_path) -> None:
    path = tmp_path / "server.py"
    path.write_text(LOCKED)
    app = {
        "name": "web",
        "script": f"{sys.executable} {path} {free_port()} {tmp_path}/app-{{instance}}.pid {{slot}}",
        "exec_mode": "cluster",
        "instances": 2,
        "retire_delay": 50,
    }
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        for turn in (1, 2):
            found = pyinit(run, "reload", "web")
            assert found.returncode == 0, run.story()
            run.event("reload finished", turn)
        numbers = [line["event"].split()[1:] for line in run.said("numbers", 6)]
        assert all(argument == variable for argument, variable, _ in numbers)
        assert sorted(instance for *_, instance in numbers) == ["0"] * 3 + ["1"] * 3
        assert run.stop() == 0
