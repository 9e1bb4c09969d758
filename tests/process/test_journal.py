"""The flight recorder of a real pyinit: printed, replayed, and left in the log."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.commands import PYINIT, answering, pyinit
from tests.support.run import Run

pytestmark = pytest.mark.process

SECRET = "hunter2-secret"
NOTIFY = (
    "import os, socket, time\n"
    "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "s.sendto(b'READY=1\\nSTATUS=hunter2-secret', os.environ['NOTIFY_SOCKET'])\n"
    "time.sleep(1000)\n"
)


def test_the_journal_replays_on_any_machine_and_holds_no_secret(tmp_path):
    (tmp_path / "told.py").write_text(NOTIFY)
    apps = [
        {
            "name": "told",
            "script": f"python3 told.py --password={SECRET}",
            "env": {"PASSWORD": SECRET},
            "wait_ready": True,
            "health": {"exec": f"sh -c 'mkdir a && exit; echo {SECRET}; exit 1'", "interval": 200},
        },
        {"name": "loop", "script": "false", "max_restarts": 40, "on_errored": "keep"},
    ]
    with Run(tmp_path, apps) as run:
        answering(run)
        run.event("app errored", app="loop")
        run.event("health check failed", app="told")
        assert SECRET in json.dumps(run.records)  # where the log goes it may be
        answer = pyinit(run, "journal")
        assert answer.returncode == 0, answer.stderr
        assert pyinit(run, "reload", "told").returncode in {0, 1}
        later = pyinit(run, "journal").stdout
        assert run.stop() == 1  # `loop` is errored
    for text in (answer.stdout, later):
        assert SECRET not in text
        assert "PASSWORD" not in text
        path = tmp_path / "journal"
        path.write_text(text)
        done = subprocess.run(
            [PYINIT, "replay", str(path)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        assert "0 decided otherwise" in done.stdout
        assert "'app errored'" in done.stdout


def test_an_errored_app_leaves_its_last_events_in_the_log(tmp_path):
    loop = {"name": "loop", "script": "sh -c 'exit 3'", "max_restarts": 80}
    other = {"name": "other", "script": "sleep 1000"}
    with Run(tmp_path, [loop, other]) as run:
        assert run.wait() == 1
    found = run.events("journal excerpt")
    assert {record["app"] for record in found} == {"loop"}
    assert {record["because"] for record in found} == {"app errored"}
    assert [record["part"] for record in found] == list(range(1, found[0]["parts"] + 1))
    lines = [line for record in found for line in record["events"]]
    assert len(lines) == 200
    assert "Report(app errored)" in lines[-1]
    sizes = [len(line) for line in run.lines if b'"journal excerpt"' in line]
    assert max(sizes) <= 8000
    assert sum(sizes) <= 64_000
    at = [record["event"] for record in run.records].index("journal excerpt")
    assert run.records[at - 1]["event"] == "app errored"
