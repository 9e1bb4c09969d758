"""`watch` in a real run: files change, workers are replaced."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.process.test_control_commands import ready, server, sleeper
from tests.process.test_watcher import configmap, save_as_vim
from tests.support.commands import answering, pyinit, workers
from tests.support.run import Run

pytestmark = [pytest.mark.process, pytest.mark.pid1]

PAUSE = "import signal\nprint('version', VERSION, flush=True)\nwhile True: signal.pause()\n"


def version(folder: Path, number: int, name: str = "app.py") -> Path:
    path = folder / name
    save_as_vim(path, f"VERSION = {number}\n{PAUSE}") if path.exists() else path.write_text(
        f"VERSION = {number}\n{PAUSE}"
    )
    return path


def fork(folder: Path, **keys) -> dict:
    folder.mkdir(exist_ok=True)
    version(folder, 1)
    base = {"name": "app", "script": "app.py", "interpreter": sys.executable, "cwd": str(folder)}
    return {**base, "watch": True, "min_uptime": 0, **keys}


def watched(run: Run) -> None:
    """The folders are watched: it begins after the first workers were started."""
    run.until(lambda: "inotify" in descriptors(run), "it watches")
    answering(run)


def descriptors(run: Run) -> str:
    found = []
    for entry in Path(f"/proc/{run.pid}/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except OSError:
            continue
    return " ".join(found)


def test_a_fork_app_is_restarted_by_a_saved_file(tmp_path) -> None:
    with Run(tmp_path, [fork(tmp_path / "app"), sleeper("other")]) as run:
        run.said("version 1")
        watched(run)
        other = workers(run, "other")[0]["pid"]
        version(tmp_path / "app", 2)
        run.said("version 2")
        assert run.event("files changed")["path"] == "app.py"
        assert run.events("worker exited")[0]["signal"] == "SIGTERM"
        version(tmp_path / "app", 3)
        run.said("version 3")
        assert len(run.events("files changed")) == 2
        assert len(run.events("worker started", app="app")) == 3
        assert workers(run, "other")[0]["pid"] == other
        assert run.stop() == 0


def test_a_cluster_app_is_reloaded_without_a_gap(tmp_path) -> None:
    app = server(tmp_path, watch=["src"])
    (tmp_path / "src").mkdir()
    with Run(tmp_path, [app]) as run:
        ready(run, 2)
        watched(run)
        (tmp_path / "src" / "new" / "deep").mkdir(parents=True)
        (tmp_path / "src" / "new" / "deep" / "x.js").write_text("1")
        run.event("reload finished", app="web")
        assert run.event("reload started")["reason"] == "files changed"
        # Each new worker was ready before its old one was told to stop.
        story = [r for r in run.records if r["event"] in ("worker ready", "worker exited")]
        kinds = [record["event"] for record in story]
        assert kinds == ["worker ready"] * 3 + ["worker exited", "worker ready", "worker exited"]
        (tmp_path / "unrelated").write_text("not below src")
        (tmp_path / "src" / ".hidden").write_text("ignored")
        (tmp_path / "src" / "end.js").write_text("1")
        run.event("reload finished", 2, app="web")
        assert [event["path"] for event in run.events("files changed")][1:] == ["src/end.js"]


def test_a_change_during_a_reload_leads_to_exactly_one_more(tmp_path) -> None:
    # Slow to come up, so that the change falls into the reload for sure.
    app = server(tmp_path, watch=["src"], wait_ready=True, listen_timeout=700)
    (tmp_path / "src").mkdir()
    with Run(tmp_path, [app]) as run:
        ready(run, 2)
        watched(run)
        (tmp_path / "src" / "a.js").write_text("1")
        run.event("reload started")
        for number in range(5):
            (tmp_path / "src" / "a.js").write_text(str(number))
        run.event("files changed", 2)
        run.event("reload finished")
        # The first and the second change, and nothing after them.
        assert len(run.events("reload started")) == 2
        assert len(run.events("reload finished")) == 1
        last = run.events("files changed")[-1]["timestamp"]
        after = [w for w in run.events("worker started") if w["timestamp"] > last]
        assert [w["instance"] for w in after].count(0) == 1
        assert [w["instance"] for w in after].count(1) == 1


def test_a_broken_program_keeps_the_old_workers_until_it_is_mended(tmp_path) -> None:
    with Run(tmp_path, [server(tmp_path, watch=True)]) as run:
        ready(run, 2)
        watched(run)
        before = [worker["pid"] for worker in workers(run, "web")]
        (tmp_path / "broken").touch()
        aborted = run.event("reload aborted")
        assert aborted["then"] == "the old workers stay"
        assert [worker["pid"] for worker in workers(run, "web")] == before
        (tmp_path / "broken").unlink()
        run.event("reload finished")
        after = [worker["pid"] for worker in workers(run, "web")]
        assert not set(before) & set(after)


def test_an_errored_app_is_started_again_by_a_change(tmp_path) -> None:
    app = fork(tmp_path / "app", max_restarts=1, min_uptime=5000, on_errored="keep")
    (tmp_path / "app" / "app.py").write_text("raise SystemExit('a bug')\n")
    with Run(tmp_path, [app]) as run:
        run.event("app errored")
        watched(run)
        version(tmp_path / "app", 7)
        run.said("version 7")
        run.event("worker ready")
        assert workers(run, "app")[0]["status"] == "online"


def test_what_was_stopped_stays_stopped(tmp_path) -> None:
    with Run(tmp_path, [fork(tmp_path / "app")]) as run:
        run.said("version 1")
        watched(run)
        assert pyinit(run, "stop", "app").returncode == 0
        version(tmp_path / "app", 2)
        run.event("files changed")
        assert [worker["status"] for worker in workers(run, "app")] == ["stopped"]
        assert len(run.events("worker started")) == 1
        assert pyinit(run, "start", "app").returncode == 0
        run.said("version 2")


def test_watch_delay_makes_one_restart_of_slow_changes(tmp_path) -> None:
    with Run(tmp_path, [fork(tmp_path / "app", watch_delay=1500)]) as run:
        run.said("version 1")
        watched(run)
        for number in (2, 3, 4):
            version(tmp_path / "app", number)
            run.until(lambda: True)
        run.said("version 4")
        assert len(run.events("files changed")) == 1


def test_a_configmap_of_an_app_and_one_with_the_file_itself(tmp_path) -> None:
    """Kubernetes swaps the link `..data`, which the names in the folder lead through."""
    settings, config = tmp_path / "settings", tmp_path / "config"
    configmap(settings, "2026_01_01")

    def file(number: int) -> str:
        app = fork(tmp_path / "app", watch=[str(settings)], env={"NUMBER": number})
        return json.dumps({"apps": [app], "watch_config": True})

    class Mounted(Run):
        """Its file is a name in the mounted folder."""

        def write(self, text: str) -> None:
            configmap(config, "2026_02_01", text)
            self.path = config / "app.yaml"

    with Mounted(tmp_path, file=file(1)) as run:
        run.said("version 1")
        watched(run)
        configmap(settings, "2026_01_02")
        run.event("files changed", app="app")
        run.said("version 1", 2)
        configmap(config, "2026_02_02", file(2))
        run.event("config changed")
        assert run.event("config accepted")["revision"] == 2
        run.said("version 1", 3)
        assert len(run.events("files changed")) == 1
        # A broken one is said, and changes nothing.
        configmap(config, "2026_02_03", "apps: [}")
        assert "app.yaml:1:" in run.event("config rejected")["reason"]
        run.until(lambda: workers(run, "app")[0]["status"] == "online", "online")


def test_the_file_itself_is_no_file_of_an_app_that_watches_its_folder(tmp_path) -> None:
    app = fork(tmp_path)
    with Run(tmp_path, [app], watch_config=True) as run:
        run.said("version 1")
        watched(run)
        run.write(json.dumps({"apps": [app, sleeper("other")], "watch_config": True}))
        run.event("worker ready", app="other")
        version(tmp_path, 2)
        run.said("version 2")
        assert len(run.events("files changed")) == 1


def test_the_limit_of_watches_is_named_and_the_apps_run(tmp_path) -> None:
    for number in range(40):
        (tmp_path / "app" / "src" / f"{number}").mkdir(parents=True)
    limit = 'echo 20 > /proc/sys/user/max_inotify_watches && exec "$@"'
    wrap = ("unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh")
    with Run(tmp_path, [fork(tmp_path / "app")], wrap=wrap) as run:
        reason = run.event("cannot watch")["reason"]
        assert "fs.inotify.max_user_watches" in reason
        assert len(run.events("cannot watch")) == 1
        run.said("version 1")
        # What was watched before the limit came still is.
        version(tmp_path / "app", 2)
        run.said("version 2")
        os.kill(run.pid, signal.SIGTERM)
        assert run.wait() == 0


def test_a_change_that_breaks_an_app_does_not_end_the_container(tmp_path) -> None:
    with Run(tmp_path, [fork(tmp_path / "app", min_uptime=500, max_restarts=5)]) as run:
        run.said("version 1")
        watched(run)
        save_as_vim(tmp_path / "app" / "app.py", "print('broken'\n")
        assert "next change" in run.event("app errored")["then"]
        version(tmp_path / "app", 2)
        run.said("version 2")
        assert run.stop() == 0


def test_a_written_exit_ends_it(tmp_path) -> None:
    app = fork(tmp_path / "app", min_uptime=500, max_restarts=2, on_errored="exit")
    with Run(tmp_path, [app]) as run:
        run.said("version 1")
        watched(run)
        save_as_vim(tmp_path / "app" / "app.py", "print('broken'\n")
        assert run.wait() == 1
