"""Jobs in a real run: on their schedule, by hand, and what is shown of them."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.process.test_control_commands import sleeper
from tests.support.commands import answering, begin, listed, pyinit
from tests.support.ports import free_port
from tests.support.run import Run, get

pytestmark = [pytest.mark.process, pytest.mark.pid1]

OFTEN = "* * * * * *"
NEVER = "0 0 1 1 *"


def job(script: str, name: str = "job", **keys) -> dict:
    return {"name": name, "script": script, "autorestart": False, "cron_restart": OFTEN, **keys}


def shown(run: Run, name: str = "job") -> dict:
    return next(app for app in listed(run)["apps"] if app["name"] == name)["job"]


def test_a_job_alone_runs_again_and_again(tmp_path) -> None:
    port = free_port()
    app = job("sh -c 'echo run; exit 3'", autostart=False)
    with Run(tmp_path, [app], probes={"listen": f"127.0.0.1:{port}"}) as run:
        run.said("run", 2)
        answer = run.event("run finished", 2)
        assert (answer["result"], answer["exit_code"], answer["level"]) == ("failed", 3, "error")
        assert datetime.fromisoformat(answer["next_run"]) > datetime.fromisoformat(
            answer["timestamp"]
        )
        assert get(port, "/readyz")[0] == 200
        found = shown(run)
        assert found["runs"] >= 2
        assert found["last_exit_code"] == 3
        assert found["last_duration"] < 5
        assert found["next_run"] > found["last_start"]
        page = get(port, "/metrics")[1]
        assert 'pyinit_job_last_exit_code{app="job"} 3' in page
        assert 'pyinit_job_runs_total{app="job",result="failed"}' in page
        assert 'pyinit_job_next_start_timestamp_seconds{app="job"}' in page
        assert "exit code 3; next run in" in pyinit(run, "ls").stdout
        assert run.stop() == 0


def test_a_run_by_hand_is_waited_for(tmp_path) -> None:
    apps = [
        job("sh -c 'echo once'", "good", cron_restart=NEVER, autostart=False),
        job("sh -c 'exit 7'", "bad", autostart=False, cron_restart=NEVER),
        job("sleep 1000", "long", cron_restart=NEVER),
        sleeper("web"),
    ]
    with Run(tmp_path, apps) as run:
        answering(run)
        found = pyinit(run, "run", "good")
        assert (found.returncode, found.stdout.splitlines()[-1][:9]) == (0, "good: ran")
        assert len(run.said("once")) == 1
        found = pyinit(run, "run", "bad")
        assert found.returncode == 1
        assert "exit code 7" in found.stdout
        found = pyinit(run, "run", "long")
        assert found.returncode == 1
        assert "overlap" in found.stdout
        found = pyinit(run, "run", "web")
        assert found.returncode == 1
        assert "kept running" in found.stderr
        assert shown(run, "long")["skipped"] == 1
        assert run.stop() == 0


def test_a_run_that_waits_for_the_end_of_another(tmp_path) -> None:
    script = f"sh -c 'echo begun; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done'"
    with Run(tmp_path, [job(script, overlap="wait", cron_restart=NEVER)]) as run:
        run.said("begun")
        answering(run)
        asked = begin(run, "run", "job")
        run.event("run waits")
        assert shown(run)["pending"]
        (tmp_path / "go").touch()
        assert asked.wait(30) == 0
        assert len(run.said("begun", 2)) == 2
        assert run.stop() == 0


def test_run_without_a_name_runs_the_apps(tmp_path) -> None:
    (tmp_path / "a.yaml").write_text("apps: [{name: a, script: echo hello, autorestart: false}]")
    with Run(tmp_path, [], file="apps: []", command=("run", "-c", "a.yaml")) as run:
        run.said("hello")
        assert run.wait() == 0
